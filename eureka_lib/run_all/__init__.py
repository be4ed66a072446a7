"""The runner behind ``run_all.sh``: executes the notebooks, shows progress, and remembers what is done.

``__main__`` reads the command line, ``jobs`` says what there is to do, ``records`` what is done already, ``child`` runs
one notebook, ``parent`` looks after many, ``display`` is what a person sees.

Only the standard library is imported at the top of these files: run_all.sh asks them for ``--help`` and about mistakes
on the command line before it spends a minute on setting up the environment.
"""
