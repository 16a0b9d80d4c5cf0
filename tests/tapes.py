"A list of parts as a kernel in C, run on two tensors: the parameter and its gradient."
import genopt
import torch
from genopt.engines.machines import kernel_on
from genopt.engines.passes import Column
from genopt.engines.program import numbers_of_kernel
from genopt.engines.table import Table
from genopt.engines.tape import record


def tape_of(composition, dtype, **numbers):
    "The parts, recorded on tensors of this dtype: their results are their stats."
    stats = composition.tensor_stats
    like = torch.empty(5, dtype=dtype, device='meta')
    begin = {k: like.clone() for k in ('param', 'grad', *(f'prev_{k}' for k in stats))}
    known = {k: numbers.get(k, 0.) for k in numbers_of_kernel(composition)}
    return record(composition.tensor_parts, begin, known, stats)


def run_as_kernel(parts, a, b, **numbers):
    "Each stat that the parts make of param=`a` and grad=`b`, of the same shape and dtype."
    composition = genopt.Composition(parts)
    tape, stats = tape_of(composition, a.dtype, **numbers), composition.tensor_stats
    made = {k: torch.empty(len(a), dtype=tape.results[k].dtype) for k in stats}
    columns = [Column(a.dtype, tape.tensors[k], None) for k in ('param', 'grad')]
    columns += [Column(tape.results[k].dtype, None, tape.results[k]) for k in stats]
    tables = [Table([len(a)]), Table([t.data_ptr() for t in (a, b, *made.values())]),
              Table([numbers.get(k, 0.) for k in tape.numbers], float), Table([0])]
    kernel_on(a.device, tape, columns)(1, *(t.at for t in tables))
    return made
