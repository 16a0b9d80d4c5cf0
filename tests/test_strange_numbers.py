"""Promise: a number of any type becomes a plain one, and what is not a number is refused.
"""
from fractions import Fraction

import genopt
import numpy as np
import pytest
from helpers import param, random_step, through_a_file


class Half(float): pass
class Three(int): pass


STRANGE = [Fraction(1, 4), np.float32(.25), np.float64(.25),
           np.longdouble(.25), np.array(.25), Half(.25), np.float16(.25)]
WHOLE = [1, True, Three(1), np.int64(1), np.bool_(True), np.uint8(1)]


@pytest.mark.parametrize('value', STRANGE + WHOLE, ids=lambda v: type(v).__name__)
def test_numbers_of_strange_types_become_plain_ones(value):
    def made(): return genopt.SGD([param()], lr=.5, momentum=.25)
    opts = [genopt.SGD([param()], lr=value), made(), made(), made(), made(), made()]
    opts[1].param_groups[0]['lr'] = value
    opts[2].set_hyper('lr', value)
    opts[3].param_groups[0] = {**opts[3].param_groups[0], 'lr': value}
    opts[4].param_groups[0].update(lr=value)
    opts[5].defaults['lr'] = value; opts[5].add_param_group({'params': [param()]})
    opts[5].param_groups.pop(0)
    for opt in opts:
        random_step(opt)
        for got in (opt.param_groups[0]['lr'], opt.state_dict()['param_groups'][0]['lr'],
                    opt.hypers[0]['lr']):
            assert type(got) in (int, float) and got == float(value)
        opt.load_state_dict(through_a_file(opt.state_dict()))


def test_a_pair_of_strange_numbers():
    opt = genopt.Adam([param()], betas=(np.float32(.5), Fraction(1, 4)))
    opt.param_groups[0]['betas'] = [np.float32(.25), Half(.5)]
    assert opt.param_groups[0]['betas'] == (.25, .5)
    assert {*map(type, opt.param_groups[0]['betas'])} == {float}


@pytest.mark.parametrize('value', ['.1', None, 1j, [.1, .2], object(), {'a': 1}],
                         ids=lambda v: type(v).__name__)
def test_what_is_no_number_is_refused_and_changes_nothing(value):
    with pytest.raises((TypeError, ValueError)): genopt.SGD([param()], lr=value)
    opt = genopt.SGD([param()], lr=.5)
    with pytest.raises((TypeError, ValueError)): opt.param_groups[0]['lr'] = value
    with pytest.raises((TypeError, ValueError)): opt.set_hyper('lr', value)
    assert opt.param_groups[0]['lr'] == .5


def test_a_huge_whole_number():
    opt = genopt.SGD([param()], lr=10**30)
    assert type(opt.param_groups[0]['lr']) is float
    opt.param_groups[0]['lr'] = 10**30; opt.set_hyper('lr', 10**30)
    assert opt.param_groups[0]['lr'] == 1e30 and type(opt.param_groups[0]['lr']) is float
    random_step(opt)
    with pytest.raises(ValueError, match='lr'): genopt.SGD([param()], lr=10**400)
    with pytest.raises(ValueError, match='lr'): opt.param_groups[0]['lr'] = 10**400
    opt.load_state_dict(through_a_file(opt.state_dict()))
