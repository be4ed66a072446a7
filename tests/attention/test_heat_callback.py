"""Heat Treatment in transformers' Trainer: the factor follows its schedule, and comes back with every checkpoint."""

import json

import pytest
import torch
import transformers

from eureka_lib.attention.heat import SCALE_SCHEDULES, heat
from eureka_lib.attention.huggingface import HeatTreatmentCallback

STEPS = 6


class Recorder(transformers.TrainerCallback):
    """The factor with which each update was made."""

    def __init__(self):
        self.factors = []

    def on_step_end(self, args, state, control, model, **others):
        self.factors.append(model.config.attention_scale_factor)


class Sentences(torch.utils.data.Dataset):
    """Noise in two kinds."""

    def __len__(self):
        return 32

    def __getitem__(self, index):
        words = torch.randint(3, 20, (6,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": words, "labels": index % 2}


def tiny_bert(attention="scaled_softmax"):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    return transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)


def trainer(folder, *callbacks, model=None, **options):
    settings = {"max_steps": STEPS, "per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True}
    settings |= {"disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no", "output_dir": str(folder)}
    arguments = transformers.TrainingArguments(**settings | options)
    return transformers.Trainer(
        model or tiny_bert(), arguments, train_dataset=Sentences(), eval_dataset=Sentences(), callbacks=list(callbacks)
    )


@pytest.mark.parametrize("schedule", sorted(set(SCALE_SCHEDULES) - {"constant"}))
def test_the_factor_follows_the_schedule_and_ends_at_one(schedule, tmp_path):
    recorder = Recorder()
    running = trainer(tmp_path, HeatTreatmentCallback(10.0, schedule), recorder)
    running.train()
    assert recorder.factors == [heat(step, STEPS, 10.0, schedule) for step in range(STEPS)]
    assert recorder.factors[0] == 10.0 and running.model.config.attention_scale_factor == 1.0


def test_the_papers_heat_treatment_is_the_default(tmp_path):
    recorder = Recorder()
    trainer(tmp_path, HeatTreatmentCallback(), recorder).train()
    assert recorder.factors[0] == 24.0 and recorder.factors[STEPS // 2 :] == [1.0] * (STEPS // 2)


def test_an_update_over_several_batches_has_one_factor(tmp_path):
    recorder = Recorder()
    trainer(tmp_path, HeatTreatmentCallback(), recorder, gradient_accumulation_steps=2).train()
    assert recorder.factors == [heat(step, STEPS, 24.0, "half_cosine") for step in range(STEPS)]


def test_a_checkpoint_comes_back_with_the_temperature_of_its_step_and_training_goes_on_from_there(tmp_path):
    whole, rest = Recorder(), Recorder()
    first = trainer(tmp_path, HeatTreatmentCallback(schedule="linear"), whole, save_strategy="steps", save_steps=2)
    first.train()
    checkpoint = tmp_path / "checkpoint-4"
    assert json.loads((checkpoint / "config.json").read_text())["attention_scale_factor"] == whole.factors[3] > 1
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint)
    assert loaded.config._attn_implementation == "scaled_softmax"
    assert loaded.config.attention_scale_factor == whole.factors[3]
    again = trainer(tmp_path / "again", HeatTreatmentCallback(schedule="linear"), rest)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert rest.factors == whole.factors[4:]
    ended, expected = again.model.state_dict(), first.model.state_dict()
    assert all(torch.allclose(ended[key], expected[key]) for key in expected)


def test_the_best_checkpoint_has_the_temperature_it_was_measured_at(tmp_path):
    """The metric asks for the loss to grow, and training lowers it: the first evaluation is the best."""
    options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    options |= {"load_best_model_at_end": True, "greater_is_better": True, "learning_rate": 0.01}
    running = trainer(tmp_path, HeatTreatmentCallback(schedule="linear"), **options)
    running.train()
    step = running.state.best_global_step
    assert step < STEPS
    assert running.model.config.attention_scale_factor == heat(step - 1, STEPS, 24.0, "linear")
    assert running.evaluate()["eval_loss"] == pytest.approx(running.state.best_metric)


def test_a_model_without_a_factor_is_refused_when_training_begins(tmp_path):
    running = trainer(tmp_path, HeatTreatmentCallback(), model=tiny_bert("eager"))
    with pytest.raises(ValueError, match="uses attn_implementation eager.*'scaled_softmax'"):
        running.train()


def test_a_model_with_attention_of_its_own_is_refused():
    """When it is built; where that went unseen, as of a model that was there before, when training begins."""
    config = transformers.DebertaV2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=20)
    with pytest.raises(
        ValueError, match="DebertaV2ForSequenceClassification computes its attention itself.*'scaled_softmax' would do"
    ):
        transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="scaled_softmax")
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    model.config._attn_implementation = "scaled_softmax"
    with pytest.raises(ValueError, match="DebertaV2ForSequenceClassification.*no attention that goes by such a name"):
        HeatTreatmentCallback().on_step_begin(None, transformers.TrainerState(max_steps=2), None, model)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="unknown schedule 'half_cosin'.*did you mean 'half_cosine'"):
        HeatTreatmentCallback(schedule="half_cosin")
    with pytest.raises(ValueError, match="scale_start must be in"):
        HeatTreatmentCallback(scale_start=0)
