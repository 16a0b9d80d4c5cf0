"""Promise: Lightning, Hugging Face's Trainer and Accelerate take a genopt optimizer as they take
torch's."""
import warnings
from functools import partial

import genopt
import pytest
import torch
from helpers import assert_close, engines, random
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # their imports are their own business
    import accelerate
    import lightning
    import transformers

pytestmark = pytest.mark.filterwarnings('ignore')  # their own: ours are tested everywhere else
transformers.logging.set_verbosity_error()

X, Y = random(0, (48, 4), torch.float32), torch.arange(48) % 3
RECIPES = [(genopt.Adam, torch.optim.Adam),
           (partial(genopt.SGD, momentum=.9), partial(torch.optim.SGD, momentum=.9)),
           (partial(genopt.AdamW, compile=True), torch.optim.AdamW)]
IDS = ['Adam', 'SGD', 'AdamW, compiled']
each = pytest.mark.parametrize('ours, theirs', RECIPES, ids=IDS)


def net(width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))


def data(**kwargs): return DataLoader(TensorDataset(X, Y), batch_size=8, **kwargs)


def assert_same_weights(a, b, tol=1e-5):
    assert_close(a.parameters(), b.parameters(), rtol=tol, atol=1e-6)


# -- Lightning -------------------------------------------------------------------------------------

class Module(lightning.LightningModule):
    def __init__(self, make, width=8):
        super().__init__()
        self.net, self.make = net(width), make

    def training_step(self, batch, i):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        opt = self.make(self.parameters(), lr=.01)
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, .05, total_steps=40)
        return dict(optimizer=opt, lr_scheduler=dict(scheduler=sched, interval='step'))


def lightning_run(make, folder, epochs=2, ckpt_path=None, width=8, **kwargs):
    module = Module(make, width)
    trainer = lightning.Trainer(max_epochs=epochs, accelerator='cpu', **kwargs,
                                default_root_dir=folder, logger=False, enable_progress_bar=False,
                                enable_model_summary=False, gradient_clip_val=.5,
                                accumulate_grad_batches=2, enable_checkpointing=False)
    trainer.fit(module, data(), ckpt_path=ckpt_path,
                weights_only=False) if ckpt_path else trainer.fit(module, data())
    return module, trainer


@each
def test_lightning(ours, theirs, tmp_path):
    (a, trainer), (b, _) = (lightning_run(make, tmp_path) for make in (ours, theirs))
    assert_same_weights(a, b)
    trainer.save_checkpoint(tmp_path/'two.ckpt')
    assert isinstance(torch.load(tmp_path/'two.ckpt', weights_only=True), dict)
    whole, _ = lightning_run(ours, tmp_path, 4)
    resumed, again = lightning_run(ours, tmp_path, 4, tmp_path/'two.ckpt')
    assert_same_weights(whole, resumed, 0.)
    assert again.optimizers[0].param_groups[0]['lr'] != .01


def test_lightning_in_low_precision(tmp_path):
    "Weights of 24 bits and state of 8: a run that is resumed goes on bit for bit."
    make = partial(genopt.AdamW, state='8bit', master=24)
    run = partial(lightning_run, make, tmp_path, width=1200, precision='bf16-true')
    _, trainer = run()
    trainer.save_checkpoint(tmp_path/'two.ckpt')
    assert isinstance(torch.load(tmp_path/'two.ckpt', weights_only=True), dict)
    runs = run(4), run(4, tmp_path/'two.ckpt')
    p, q = (module.net[0].weight for module, _ in runs)
    a, b = (trainer.optimizers[0].state[x] for x, (_, trainer) in zip((p, q), runs))
    assert {torch.int8, torch.uint8} < {v.dtype for v in a.values()}
    assert torch.equal(p, q) and all(torch.equal(a[k], b[k]) for k in a)


def test_lightning_with_a_checkpoint_of_another_recipe(tmp_path):
    _, trainer = lightning_run(genopt.Adam, tmp_path); trainer.save_checkpoint(tmp_path/'adam.ckpt')
    with pytest.raises(ValueError, match='cannot load this state_dict: its group 0 was '
                                         'made by l2_reg → average_grad'):
        lightning_run(genopt.Lion, tmp_path, 3, tmp_path/'adam.ckpt')


# -- Hugging Face's Trainer ------------------------------------------------------------------------

def tiny():
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, num_labels=3,
        max_position_embeddings=8, hidden_dropout_prob=0., attention_probs_dropout_prob=0.))


ROWS = [dict(input_ids=torch.arange(i, i + 6) % 20, labels=i % 3) for i in range(32)]


def hugging_face_run(make, folder, steps=8, resume=None, **kwargs):
    model = tiny()
    opt = make(genopt.no_decay(model, wd=.1) if make is not torch.optim.AdamW else
               [{**g, 'params': [p for _, p in g['params']], 'weight_decay': g.pop('wd')}
                for g in genopt.no_decay(model, wd=.1)], lr=1e-2)
    sched = transformers.get_linear_schedule_with_warmup(opt, 2, 8)
    args = transformers.TrainingArguments(folder, max_steps=steps, per_device_train_batch_size=8,
                                          report_to=[], save_steps=4, logging_steps=2, use_cpu=True,
                                          disable_tqdm=True, seed=0, max_grad_norm=1., **kwargs)
    trainer = transformers.Trainer(model, args, train_dataset=ROWS, optimizers=(opt, sched))
    trainer.train(resume_from_checkpoint=resume)
    return model, trainer


@engines
def test_hugging_face(compile, tmp_path):
    ours = partial(genopt.AdamW, compile=compile)
    (a, trainer), (b, _) = (hugging_face_run(make, tmp_path/str(i), gradient_accumulation_steps=2)
                            for i, make in enumerate((ours, torch.optim.AdamW)))
    assert_same_weights(a, b, 1e-4)
    assert trainer.optimizer.param_groups[0]['lr'] == 0
    assert trainer.state.log_history[0]['learning_rate'] > 0
    resumed, _ = hugging_face_run(ours, tmp_path/'again', resume=str(tmp_path/'0/checkpoint-4'),
                                  gradient_accumulation_steps=2)
    assert_same_weights(a, resumed, 0.)


def test_hugging_face_with_a_checkpoint_of_another_recipe(tmp_path):
    hugging_face_run(genopt.AdamW, tmp_path, 4)
    with pytest.raises(ValueError, match='cannot load this state_dict: its group 0 was '
                                         'made by average_grad → .* here'):
        hugging_face_run(genopt.Lion, tmp_path/'lion', resume=str(tmp_path/'checkpoint-4'))


# -- Accelerate ------------------------------------------------------------------------------------

def accelerate_run(make, folder, epochs=2, load=None):
    a = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = net(); opt = make(model.parameters(), lr=.01)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 16)
    model, opt, dl, sched = a.prepare(model, opt, data(), sched)
    if load: a.load_state(load)
    for _ in range(epochs):
        for x, y in dl:
            with a.accumulate(model):
                loss = nn.functional.cross_entropy(model(x), y)
                a.backward(loss)
                if a.sync_gradients: a.clip_grad_norm_(model.parameters(), .5)
                opt.step(); sched.step(); opt.zero_grad()
    a.save_state(folder)
    return model


@each
def test_accelerate(ours, theirs, tmp_path):
    a, b = (accelerate_run(make, tmp_path/str(i)) for i, make in enumerate((ours, theirs)))
    assert_same_weights(a, b)
    whole = accelerate_run(ours, tmp_path/'whole', 4)
    assert_same_weights(whole, accelerate_run(ours, tmp_path/'resumed', 2, tmp_path/'0'), 0.)


def test_accelerate_with_a_state_of_another_recipe(tmp_path):
    accelerate_run(genopt.Adam, tmp_path)
    with pytest.raises(ValueError, match='cannot load this state_dict: its group 0 was '
                                         'made by l2_reg → average_grad'):
        accelerate_run(genopt.Lion, tmp_path/'lion', load=tmp_path)


# -- rules with other weights to evaluate ----------------------------------------------------------

AVERAGING = pytest.mark.parametrize('recipe', [
    genopt.ScheduleFreeAdamW, genopt.AdamW + genopt.average_param], ids=lambda r: r.__name__)


def average_of(opt):
    with opt.swapped(): return [p.detach().clone() for g in opt.param_groups for p in g['params']]


class Validated(Module):
    "Notes the weights that each validation sees."
    seen = ()
    def configure_optimizers(self): return self.make(self.parameters(), lr=.01)
    def validation_step(self, batch, i):
        if not i: self.seen.append([p.detach().clone() for p in self.parameters()])


@AVERAGING
def test_lightning_validates_the_average(recipe, tmp_path):
    from genopt.interop.lightning import EvaluateAverage
    def fit(make, cbs, **kwargs):
        module = Validated(make)
        module.seen = []
        trainer = lightning.Trainer(
            max_epochs=2, accelerator='cpu', logger=False, enable_progress_bar=False, callbacks=cbs,
            enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False)
        trainer.fit(module, data(), data(), **kwargs)
        return module, trainer
    (a, _), (b, trainer) = fit(recipe, []), fit(recipe, [EvaluateAverage()])
    assert all(map(torch.equal, a.parameters(), b.parameters()))  # it changes no bit of the run
    assert all(map(torch.equal, b.seen[-1], average_of(trainer.optimizers[0])))
    assert not torch.equal(b.seen[-1][0], b.net[0].weight)
    with pytest.raises(AttributeError, match='there are no other weights to evaluate'):
        fit(genopt.AdamW, [EvaluateAverage()])


@AVERAGING
def test_hugging_face_validates_the_average(recipe, tmp_path):
    "Its Trainer calls `train` and `eval` by itself, also before it saves."
    seen = []
    class Seeing(transformers.Trainer):
        def prediction_step(self, model, *args, **kwargs):
            seen.append([p.detach().clone() for p in model.parameters()])
            return super().prediction_step(model, *args, **kwargs)
    def fit(folder, resume=None):
        model = tiny()
        opt = recipe(model.parameters(), lr=1e-2)
        args = transformers.TrainingArguments(
            folder, max_steps=6, per_device_train_batch_size=8, report_to=[], save_steps=3,
            eval_strategy='steps', eval_steps=3, use_cpu=True, disable_tqdm=True, seed=0,
            lr_scheduler_type='constant', per_device_eval_batch_size=32)
        trainer = Seeing(model, args, train_dataset=ROWS, eval_dataset=ROWS, optimizers=(opt, None))
        trainer.train(resume_from_checkpoint=resume)
        return model, opt
    model, opt = fit(tmp_path/'a')
    opt.train()  # it ends with an evaluation
    assert all(map(torch.equal, seen[-1], average_of(opt)))
    assert not torch.equal(seen[-1][0], [*model.parameters()][0])
    again, other = fit(tmp_path/'b', str(tmp_path/'a/checkpoint-3'))
    other.train()
    assert all(map(torch.equal, model.parameters(), again.parameters()))


def test_accelerate_finds_the_average():
    model = net()
    opt = genopt.ScheduleFreeSGD(model.parameters())
    model, wrapped = accelerate.Accelerator(cpu=True).prepare(model, opt)
    nn.functional.cross_entropy(model(X), Y).backward(); wrapped.step()
    nn.functional.cross_entropy(model(X), Y).backward(); wrapped.step()
    want = average_of(opt)
    wrapped.eval(); assert all(map(torch.equal, model.parameters(), want))
    wrapped.train(); assert not torch.equal([*model.parameters()][0], want[0])
