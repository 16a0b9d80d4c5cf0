"""What random compositions are made of: all parts of genopt, and some that users might write: on
each element, on whole tensors, on numbers, and those that have no place in a kernel.
"""
import torch
from genopt import gate, scalar, stat, step, tensor, total, transform
from genopt.catalogue import every_part, modifiers
from genopt.part import Part
from helpers import RECIPES

# -- on elements and numbers -----------------------------------------------------------------------

@stat(init=0)
def ticks(ticks): return ticks + 1
@stat(init=1.)
def faded(faded, *, mom=.9): return faded * mom
@stat(init=lambda *, lr: lr)
def peak_lr(peak_lr, ticks, *, lr): return max(peak_lr, lr / ticks)
@stat(init=lambda param: torch.zeros_like(param, dtype=torch.bool))
def was_up(was_up, grad): return (grad > 0) | (was_up & (grad == 0))
@stat(init=lambda param: param.float())
def trail(trail, new_param, *, ema=.9): return trail.lerp(new_param, 1 - ema)
@stat
def last_update(last_update, update): return update
@stat
def grad_now(grad_now, raw_grad): return raw_grad
@scalar
def warm(ticks): return min(1., ticks / 3)
@scalar
def odd(ticks, faded): return faded if ticks % 2 else -faded
@scalar
def kept_apart(ticks, *, beta=.5): return 1 - beta**ticks
@total
def grad_size(grad): return grad.abs().sum()
@total
def moved(param, raw_grad): return (param * raw_grad).sum()
@scalar
def per_size(size=grad_size): return 1 / (1 + size)
@gate
def sometimes(ticks): return ticks % 3 != 2
@gate
def not_huge(size=grad_size): return size < 40
@stat(init=0)
def refused(refused, size=grad_size): return refused + (size > 40)
@transform
def squashed(grad): return grad.tanh()
@transform
def pulled(grad, param, *, wd=.1): return grad + wd * param
@transform(switch='wd')
def pulled_if(grad, param, *, wd=0.): return grad + wd * param.sign()
@transform
def by_size(grad, share=per_size): return grad * share
@transform
def masked(update, was_up): return torch.where(was_up, update, update * .5)
@transform
def returned(grad): return grad
@step
def warmed(grad, share=warm, *, lr): return -lr * share * grad
@step
def both_ways(grad, turn=odd, *, lr): return -lr * turn * grad
@step
def along_last(prev_last_update, *, mom=.9): return mom * prev_last_update
@step
def back(param, trail, *, slow=.1): return slow * (trail - param)
@step
def by_total(raw_grad, all_moved=moved, *, lr): return -lr * raw_grad / (1 + abs(all_moved))
@step
def looked_ahead(new_param, share=kept_apart, *, lr): return -lr * share * new_param
@transform
def undeclared(grad): return grad / (1 + grad.abs().max())  # wrong: it is not elementwise

# -- on whole tensors ------------------------------------------------------------------------------

@transform(whole=True)
def centred(update): return update - update.mean()
@stat(whole=True)
def row_mean(row_mean, grad): return row_mean.lerp(grad.mean().expand_as(grad), .3)
@stat(init=lambda param: param.sum())
def whole_sum(whole_sum, grad): return whole_sum + grad.sum()
@transform(whole=True)
def by_rows_norm(grad): return grad / (1 + grad.norm(dim=-1, keepdim=True))
@transform(whole=True)
def by_columns(update): return update * (1 + update.abs().amax(0, keepdim=True)).rsqrt()
@transform(whole=True)
def less_spread(grad): return grad / (1 + grad.std(correction=0))
@transform(whole=True)
def less_spread_rows(grad): return grad / (1 + grad.var(-1, correction=0, keepdim=True))
@transform(whole=True)
def only_finite(grad): return torch.where(grad.isfinite().all(), grad, torch.zeros_like(grad))
@transform(whole=True)
def if_any_large(update): return torch.where((update.abs() > .5).any(), update / 2, update)
@transform(whole=True)
def flat_norm(grad): return grad / (1 + grad.flatten().norm())
@transform(whole=True)
def turned(grad): return (grad.transpose(0, -1) * 2 + grad.mean()).transpose(0, -1)
@transform(whole=True)
def turned_means(grad):
    return grad - grad.transpose(0, -1).mean(0, keepdim=True).transpose(0, -1)
@stat(whole=True)
def outer_avg(outer_avg, grad, *, mom=.9):
    square = grad.square()
    rows, columns = square.mean(-1, keepdim=True), square.mean(0, keepdim=True)
    return outer_avg.lerp(rows * columns, 1 - mom)
@step(whole=True)
def by_outer(grad, outer_avg, *, lr): return -lr * grad / (outer_avg.sqrt() + .1)
@transform(needs='matrix')
def outer_product(grad): return grad + torch.outer(grad.mean(1), grad.mean(0))
@transform(whole=True)
def by_number_of_elements(update): return update / (1 + update.numel()**.5)
@transform(whole=True)
def by_sizes(grad): return grad / max([2, *grad.shape])
@transform(whole=True)
def matrices_only(grad): return grad * 2 if grad.dim() > 1 and grad.shape[-1] > 2 else grad
@stat(whole=True)
def largest(largest, grad): return torch.maximum(largest, grad.abs().max().expand_as(grad))
@step(whole=True)
def by_largest(grad, largest, *, lr): return -lr * grad / (1 + largest)
@stat(whole=True)
def many_negative(many_negative, grad): return many_negative + (grad < 0).sum() / grad.numel()
@step(whole=True)
def by_ratio(param, grad, *, lr):
    return -lr * grad * param.norm() / (1 + grad.norm(1) + (grad * param).sum().abs())
@step
def by_rows(row_mean, *, lr): return -lr * row_mean

# -- that ask numbers ------------------------------------------------------------------------------

@transform
def later_halved(grad, ticks): return grad / 2 if ticks > 1 else grad
@step
def warming_up(grad, ticks, *, lr): return -lr * min(1., ticks / 2) * grad
@stat
def now_and_then(now_and_then, grad, ticks): return grad if ticks % 2 else now_and_then
@transform(whole=True)
def normed_if_fast(update, *, lr): return update / (1 + update.norm()) if lr > .1 else update

# -- that a scalar switches off, and those that differ from parameter to parameter -----------------

@scalar
def by_turns(ticks): return ticks % 3 == 1
@stat(switch='now')
def held(held, grad, now=by_turns): return held + grad
@transform(switch='now')
def halved_by_turns(grad, now=by_turns): return grad / 2
@step(switch='now')
def held_step(held, now=by_turns, *, lr): return -lr * held
@stat(whole=True, switch='now')
def flipped_now(flipped_now, grad, now=by_turns): return grad.flip(0)
@step(whole=True)
def flipped_step(flipped_now, *, lr): return -lr * flipped_now
@scalar
def by_size_and_place(rows, columns, place): return rows / columns + place
@step
def sized_step(grad, rows, size=by_size_and_place, *, lr): return -lr * grad * size / rows
@transform
def rooted(grad, numel): return grad / numel**.5

# -- that make tensors for others ------------------------------------------------------------------

@tensor
def signs(grad): return grad.sign()
@step
def by_signs(grad, signs=signs, *, lr): return -lr * (grad + signs)
@transform
def with_signs(grad, signs=signs): return grad + signs
@tensor(whole=True)
def row_norms(grad): return grad.norm(dim=-1, keepdim=True)
@transform(whole=True)
def by_row_norms(grad, norms=row_norms): return grad / (1 + norms)
@tensor(whole=True)
def two_ways(grad): return grad.flip(0), grad.flatten().sort().values
@transform(whole=True)
def both_ways_at_once(grad, ways=two_ways): return grad + ways[0] / (1 + ways[1].abs().max())
@tensor(whole=True)
def once_more(ways=two_ways): return ways[0] * 2
@stat(whole=True, switch='now')
def remade(remade, again=once_more, now=by_turns): return remade + again
@total
def signs_total(signs=signs): return signs.sum()
@transform
def by_signs_total(update, total=signs_total): return update / (1 + abs(total))

# -- that run as they are --------------------------------------------------------------------------

@transform
def by_root(grad, ticks): return grad * float(ticks)**-.5
@transform(whole=True)
def summed_up(grad): return grad.flatten().cumsum(0).view_as(grad) / (1 + grad.numel())
@transform(whole=True)
def in_order(update): return update.flatten().sort().values.reshape(update.shape)
@transform(whole=True)
def by_place(grad, place): return grad * (1 + place)
@transform
def through_numpy(grad): return torch.from_numpy(grad.detach().numpy() * .5)
@stat(whole=True)
def rolled(rolled, grad): return grad.roll(1)
@step(whole=True)
def along_rolled(rolled, *, lr): return -lr * rolled
@transform(needs='matrix')
def squared_matrix(grad): return grad + .1 * grad @ grad.T @ grad

OWN = [v for v in globals().values() if isinstance(v, Part)]
LIBRARY = [*every_part()]
POOL = [*OWN, *LIBRARY]
STEPS = [p for p in POOL if p.kind == 'step']


# -- compositions ----------------------------------------------------------------------------------

def composed(rng):
    """A list of parts: some at random, what they read before them, at times in disorder; where
    names clash, renamed."""
    found, made = [], {}
    def add(part, depth=0):
        for p in [part, *part.links.values()]:
            for name in p.reads:
                name = name.removeprefix('prev_')
                makers = [q for q in POOL if q.out == name
                          and q.kind in ('stat', 'scalar', 'total', 'tensor') and q != part]
                if name not in made and makers and depth < 4: add(rng.choice(makers), depth + 1)
        if part.kind == 'stat':
            if made.get(part.out, part) != part:
                part = part.rename(**{part.out: f'{part.out}_{len(found)}'})
            made[part.out] = part
        if part not in found: found.append(part)
    for part in rng.sample(POOL, rng.randint(1, 4)) + rng.sample(STEPS, rng.choice([1, 1, 2])):
        add(part)
    gates = [p for p in found if p.kind == 'gate']
    numbers = [p for p in found if p.kind == 'stat' and p.is_number]
    if rng.random() < .8:
        found = [*numbers, *gates, *(p for p in found if p not in numbers and p not in gates)]
    if rng.random() < .5: found.sort(key=lambda p: 'update' in p.reads or 'new_param' in p.reads)
    if rng.random() < .1: rng.shuffle(found)
    if rng.random() < .1: found.pop(rng.randrange(len(found)))
    if rng.random() < .1: i = rng.randrange(len(found)); found[i] = renamed(found[i], rng)
    return found


def renamed(part, rng):
    names = sorted(part.known_names)
    new = rng.choice(['other', 'grad_avg', 'lr', 'mom2', 'update'])
    return part.rename(**{rng.choice(names): new}) if names else part


def modified(rng):
    recipe = rng.choice(RECIPES)
    for name in rng.sample([*modifiers()], rng.randint(1, 3)): recipe = recipe + modifiers()[name]
    if rng.random() < .3:
        recipe = recipe + rng.choice([p for p in OWN if p.kind in ('transform', 'step')])
    return recipe
