"""The pages to read in a browser: every figure with its claim and its reading guide, and the notebooks themselves.

``render`` turns Markdown and executed notebooks into HTML that needs no network, ``links`` leads from notebook to
notebook; ``entries`` gathers what belongs to a figure from the files beside it, the claims and the notebook; ``page``
fills the gallery, ``figures/index.html``.
"""
