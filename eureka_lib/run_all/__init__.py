"""The runner behind ``run_all.sh``: executes the notebooks by papermill, shows progress, and remembers what is done.

``__main__`` reads the command line, ``jobs`` says what there is to do and what is done already, ``one`` executes a
notebook in a worker process, ``many`` looks after all.

All but the last two need the standard library alone: run_all.sh asks for ``--help`` and about mistakes on the command
line before it spends a minute on setting up the environment.
"""
