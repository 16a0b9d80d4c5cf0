"A training loop with callbacks in fastai's style. Run it, or import `Loop`."
import genopt
import torch


class Loop:
    "Trains `model`. A callback has methods named like events, and finds the loop in `self.loop`."
    def __init__(self, model, train, valid, loss_fn, opt, cbs=()):
        self.model, self.train, self.valid = model, train, valid
        self.loss_fn, self.opt, self.cbs = loss_fn, opt, [*cbs]
        for cb in self.cbs: cb.loop = self

    def event(self, name):
        for cb in self.cbs: getattr(cb, name, lambda: None)()

    def fit(self, epochs):
        self.epochs = epochs
        self.event('before_fit')
        for self.epoch in range(epochs):
            for training in (True, False): self.one_epoch(training)
            self.event('after_epoch')
        self.event('after_fit')

    def one_epoch(self, training):
        self.training = self.model.train(training).training
        with torch.set_grad_enabled(training):
            for batch in self.train if training else self.valid:
                self.x, self.y = batch
                self.pred = self.model(self.x)
                self.loss = self.loss_fn(self.pred, self.y)
                if self.training:
                    self.loss.backward(); self.event('before_step')
                    self.opt.step(); self.opt.zero_grad()
                self.event('after_batch')


class OneCycle:
    def __init__(self, lr): self.lr = lr
    def before_fit(self):
        steps = self.loop.epochs * len(self.loop.train)
        self.schedule = genopt.Schedule(self.loop.opt, steps, lr=genopt.one_cycle(self.lr))
    def after_fit(self): self.schedule.remove()


class Accuracy:
    def before_fit(self): self.right, self.history = [], []
    def after_batch(self):
        if not self.loop.training: self.right += (self.loop.pred.argmax(1) == self.loop.y).tolist()
    def after_epoch(self): self.history.append(sum(self.right) / len(self.right)); self.right = []


if __name__ == '__main__':
    from sklearn.datasets import load_digits
    rows = [(torch.tensor(x / 16).float(), y) for x, y in zip(*load_digits(return_X_y=True))]
    train = torch.utils.data.DataLoader(rows[:1400], 64, shuffle=True)
    valid = torch.utils.data.DataLoader(rows[1400:], 64)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    opt, accuracy = genopt.AdamW(model.parameters()), Accuracy()
    Loop(model, train, valid, torch.nn.CrossEntropyLoss(), opt, [OneCycle(.01), accuracy]).fit(5)
    for i, a in enumerate(accuracy.history, 1): print(f'epoch {i}: {a:.1%} right')
