"""In one fresh interpreter that has none of the extras: what needs one says so, and everything else can be imported."""

import json
import subprocess
import sys

CODE = """
import importlib, json, pkgutil, sys

extras = ["transformers", "tokenizers", "accelerate", "datasets", "distributed", "dask_jobqueue", "pyarrow"]
sys.modules |= dict.fromkeys(extras)  # as if they were not installed
said = {}


def attempt(name, call, *arguments):
    try:
        call(*arguments)
    except ImportError as error:
        said[name] = str(error)


import eureka_lib
from eureka_lib.experiments import profiles
from eureka_lib.experiments.cluster import connect

for module in pkgutil.walk_packages(eureka_lib.__path__, "eureka_lib."):
    attempt(module.name.split(".")[-1], importlib.import_module, module.name)
for base in (profiles.get("laptop").in_context.base, profiles.get("smoke").language.base):
    attempt(base.key, lambda: base.build_model(base.build_task()))
with open(sys.argv[1], "w") as file:
    json.dump(said, file)
"""


def test_only_what_works_in_other_peoples_models_needs_an_extra(tmp_path):
    """An experiment can be made, named and looked up without it, too; only its model, or its words, want it."""
    subprocess.run([sys.executable, "-c", CODE, tmp_path / "said.json"], check=True)
    said = json.loads((tmp_path / "said.json").read_text())
    modules = {name for name in said if len(name) != 16}  # the other keys are experiments'
    assert modules == {"huggingface", "huggingface_examples"} and len(said) == 4
    assert all("extra 'hf' installs: pip install -e '.[hf]'" in text for text in said.values()), said
