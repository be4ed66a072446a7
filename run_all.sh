#!/usr/bin/env bash
# From a fresh clone to all figures:   ./run_all.sh [NOTEBOOK ...] [--profile smoke|laptop|paper] [options]
# A notebook in JupyterLab:            ./run_all.sh lab [NOTEBOOK]
# (Without a GPU, on Linux, EUREKA_TORCH_INDEX=ADDRESS saves gigabytes of CUDA: see say_sizes.)
# For a room without a network:        ./run_all.sh kit FOLDER
# Everything is tested by:             ./run_all.sh test [pytest's arguments]
#
# This script only finds or makes a Python environment; eureka_lib/run_all does the rest (--help explains it).
set -euo pipefail

# Nothing in a person's shell is to change what happens here: none of its functions and no CDPATH (-p), no other way for
# Python or pytest to work, no other place where pip would put things. Where pip finds packages stays her affair, though:
# her index, proxy, certificates and pip.conf. What is to be kept from the notebooks: eureka_lib/run_all/surroundings.py
[[ $- == *p* ]] || exec bash -p "$0" "$@"
unset "${!PYTHON@}" "${!PYTEST@}" PIP_{TARGET,PREFIX,ROOT,USER,PYTHON,NO_DEPS,DRY_RUN,PRE}
export HOME=${HOME:-~} # Jupyter cannot do without; for a user without a name, in a container, it is /

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
venv=$root/.venv
stamp=$venv/eureka-complete # written last: only with it is the environment believed to be complete

# Which of pyproject.toml's extras: for JupyterLab little is enough, but for notebooks 10 to 12.
extra=all
[[ ${1:-} != lab || " $*" =~ [\ /]1[0-2] ]] || extra=class

# A kit (./run_all.sh kit FOLDER) brings the wheels of that, for a room without a network.
wheels=$root/wheels offline=()
if [[ -d $wheels ]]; then extra=class offline=(--no-index --find-links "$wheels"); fi

# This checkout's eureka_lib is the one to use, here and in the notebooks' kernels, even if the active environment has
# none or another checkout's. Hence an active environment needs our requirements only and is never written to. Packages
# in the home folder would come before the environment's; files are UTF-8 in any language.
export PYTHONPATH=$root PYTHONNOUSERSITE=1 PYTHONUTF8=1

# glibc hands large blocks back to the system, and a ResNet takes them anew at every step: keeping them saves a sixth.
export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824

fail() {
    echo "run_all.sh: $*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13 python3.14 python; do
        if new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "no Python 3.11 or newer found; install one, or: conda env create -f environment.yml && conda activate eureka"
}

# Whether a Python satisfies pyproject.toml by what lies in its own environment (-I); prints what that lacks.
satisfies() { "$1" -I "$root/eureka_lib/run_all/requirements.py" "$root/pyproject.toml" "$extra" 2>/dev/null; }

# Prints the active environment's Python if it satisfies pyproject.toml, else says on stderr what it lacks.
active_python() {
    local active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}} lacks
    [[ -n $active && ! $active -ef $venv ]] || return 1
    if lacks=$(satisfies "$active/bin/python"); then
        echo "$active/bin/python"
    else
        echo "The active environment $active lacks ${lacks:-a working Python}; using .venv instead." >&2
        return 1
    fi
}

# What .venv was made from and for: a changed pyproject.toml or a moved folder makes another text.
wanted_stamp() {
    echo "$root"
    cat "$root/pyproject.toml"
}

venv_complete() { [[ -f $stamp ]] && wanted_stamp | cmp -s - "$stamp" && satisfies "$venv/bin/python" >/dev/null; }

# For Linux pip's torch brings CUDA, with a GPU or without; torch's own project keeps builds for CPUs in an index apart.
wants_cpu_torch() { [[ $(uname -s) == Linux && ! -d $wheels ]] && ! nvidia-smi -L >/dev/null 2>&1; }

# pip, with a bar for each download if a person looks on, and silent otherwise.
install() {
    local quiet=-qq
    [[ ! -t 1 ]] || quiet=
    # shellcheck disable=SC2086 # empty is no argument
    "$venv/bin/python" -I -m pip install $quiet --no-input --disable-pip-version-check \
        ${offline[@]+"${offline[@]}"} "$@" </dev/null # an empty array is unbound in the bash of macOS
}

say_sizes() {
    local what="1.5 GB on disk (350 MB to download)" # measured on Linux, with torch for CPUs
    [[ $extra == class ]] || what="1.9 GB on disk (450 MB to download)"
    [[ ! -d $wheels ]] || what="1.5 GB on disk, from this kit's wheels"
    echo "Setting up .venv with pip, once: $what; from a minute to a quarter of an hour ..."
    if wants_cpu_torch && [[ -z ${EUREKA_TORCH_INDEX:-} ]]; then
        echo "No NVIDIA GPU is seen here. pip's usual torch may bring CUDA all the same, some 2.5 GB more; to do without," \
            "stop this, and set EUREKA_TORCH_INDEX to the address that PyTorch's installation page (Get started," \
            "Linux, Pip, CPU) shows behind --index-url."
    fi
}

# Removing the stamp first and writing it last means that an interrupted set-up starts over.
make_venv() {
    local python=$1 reuse='' lacks trouble
    trouble=$("$python" -I "$root/eureka_lib/run_all/requirements.py" --platform) || fail "$trouble"
    if [[ -f $stamp && $(head -n 1 "$stamp") == "$root" ]] && new_enough "$venv/bin/python"; then reuse=yes; fi
    rm -f "$stamp"
    say_sizes
    [[ $reuse ]] || "$python" -m venv --clear "$venv" </dev/null || fail "could not make $venv"
    if wants_cpu_torch && [[ -n ${EUREKA_TORCH_INDEX:-} ]]; then
        install --no-deps --index-url "$EUREKA_TORCH_INDEX" "$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' "$root/pyproject.toml")" ||
            echo "No torch for CPUs in EUREKA_TORCH_INDEX=$EUREKA_TORCH_INDEX; taking the usual one."
    fi
    install -e "${root}[$extra]" ||
        fail "pip could not install the requirements, see above; the same command tries again"
    lacks=$(satisfies "$venv/bin/python") ||
        fail "pip found nothing wrong, but .venv lacks ${lacks:-a working Python}; does its configuration (pip config" \
            "list) send packages elsewhere? The same command tries again"
    wanted_stamp >"$stamp.part" && mv "$stamp.part" "$stamp"
}

is_test=
if [[ ${1:-} == test ]]; then
    is_test=yes
    shift
fi

if python=$(active_python); then
    :
elif venv_complete; then
    python=$venv/bin/python
else
    python=$(find_python)
    # --help and mistakes on the command line are answered before the minute that the set-up takes.
    if [[ ! $is_test ]]; then
        "$python" -m eureka_lib.run_all --check "$@" || exit
        for word; do [[ $word != -h && $word != --help ]] || exit 0; done
    fi
    make_venv "$python"
    python=$venv/bin/python
fi

if [[ ! $is_test ]]; then
    exec "$python" -m eureka_lib.run_all "$@"
fi
export EUREKA_PROFILE=smoke EUREKA_HEADLESS=1
cd "$root" # where pytest finds its configuration
# A file, and so a notebook, stays on one worker. To have all in one process: -n 0
exec "$python" -m pytest -n logical --maxprocesses 4 --dist loadfile "$@"
