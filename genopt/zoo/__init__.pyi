# Written by `python -m genopt stubs` from the code that runs.
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

from torch import Tensor

from ..optimizer import Optimizer
from ..params import Params
from ..recipe import Recipe

# One number for all groups, or one for each
Number: TypeAlias = float | Tensor | Sequence[float] | slice[Any, Any, Any]

FAMILIES: tuple[ModuleType, ...]
__all__ = ['SGD', 'Momentum', 'RMSprop', 'Adam', 'AdamW', 'QHM', 'AggMo', 'ASGD', 'Adagrad', 'Adadelta', 'MADGRAD', 'SparseAdam', 'Adamax', 'NAdam', 'RAdam', 'NAdamW', 'QHAdam', 'AdaBelief', 'Yogi', 'LaProp', 'ADOPT', 'DiffGrad', 'AdaBound', 'AdEMAMix', 'Adan', 'MARS', 'Rprop', 'Signum', 'Tiger', 'Lion', 'LARS', 'NovoGrad', 'LAMB', 'StableAdamW', 'Adafactor', 'Muon', 'NorMuon', 'Scion', 'CAME', 'SM3', 'AdamMini', 'Shampoo', 'SOAP', 'PSGDKron', 'Dion', 'GaLore', 'APOLLO', 'ScheduleFreeSGD', 'ScheduleFreeAdamW', 'Prodigy', 'DAdaptAdam', 'DAdaptSGD', 'DoG', 'SAM', 'Sophia', 'SophiaH', 'AdaHessian']

class _SGD(Recipe):
    """Steps down the gradient; with `mom`, it is Momentum (Robbins & Monro, 1951)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        wd: Number = 0.0,
        mom: Number = 0.0,
        dampening: Number = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps down the gradient; with `mom`, it is Momentum (Robbins & Monro, 1951).

        SGD(params, lr=0.001, *, wd=0.0, mom=0.0, dampening=0.0, nesterov=False, maximize=False, compile=None)

            l2_reg    g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            sgd_step  Δθ = −η·g

            lr=0.001        learning rate
            wd=0.0          weight decay (torch: weight_decay)
            mom=0.0         decay of the average of gradients (torch: momentum)
            dampening=0.0   what a momentum buffer takes off a new gradient
            nesterov=False  an option: it chooses parts
        """

SGD: _SGD

class _Momentum(Recipe):
    """Steps along a sum of past gradients (Polyak, 1964; Sutskever et al., ICML 2013)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        wd: Number = 0.0,
        dampening: Number = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps along a sum of past gradients (Polyak, 1964; Sutskever et al., ICML 2013).

        Momentum(params, lr=0.001, *, mom=0.9, wd=0.0, dampening=0.0, nesterov=False, maximize=False, compile=None)

            l2_reg           g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            momentum_buffer  m ← β₁·m + g: a sum of gradients, each β₁ times the next; the first step's is g itself (Polyak, 1964).
            momentum_step    Δθ = −η·m

            lr=0.001        learning rate
            mom=0.9         decay of the average of gradients (torch: momentum)
            wd=0.0          weight decay (torch: weight_decay)
            dampening=0.0   what a momentum buffer takes off a new gradient
            nesterov=False  an option: it chooses parts
        """

Momentum: _Momentum

class _RMSprop(Recipe):
    """Steps along the gradient over its root mean square (Tieleman & Hinton, 2012; centered: Graves, arXiv:1308.0850)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        sqr_mom: Number = 0.99,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        mom: Number = 0.0,
        centered: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        alpha: Number = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps along the gradient over its root mean square (Tieleman & Hinton, 2012; centered: Graves, arXiv:1308.0850).

        RMSprop(params, lr=0.01, *, sqr_mom=0.99, eps=1e-08, wd=0.0, mom=0.0, centered=False, maximize=False, compile=None)

            l2_reg            g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            scale_by_rms      g ← g / (√v + ε): the gradient in units of its own size (Tieleman & Hinton, 2012, Coursera lecture 6e).
            sgd_step          Δθ = −η·g

            lr=0.01         learning rate
            sqr_mom=0.99    decay of the average of squared gradients (torch: alpha)
            eps=1e-08       keeps a denominator away from zero
            wd=0.0          weight decay (torch: weight_decay)
            mom=0.0         decay of the average of gradients (torch: momentum)
            centered=False  an option: it chooses parts
        """

RMSprop: _RMSprop

class _Adam(Recipe):
    """The average gradient over the root of the average square (Kingma & Ba, arXiv:1412.6980; AMSGrad: 1904.09237)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        amsgrad: bool = False,
        decouple_wd: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
        decoupled_weight_decay: bool = ...,
    ) -> Optimizer:
        """The average gradient over the root of the average square (Kingma & Ba, arXiv:1412.6980; AMSGrad: 1904.09237).

        Adam(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, amsgrad=False, decouple_wd=False, maximize=False, compile=None)

            l2_reg            g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            adam_step         Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).

            lr=0.001           learning rate
            mom=0.9            decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999      decay of the average of squared gradients (torch: betas[1])
            eps=1e-08          keeps a denominator away from zero
            wd=0.0             weight decay (torch: weight_decay)
            amsgrad=False      an option: it chooses parts
            decouple_wd=False  an option: it chooses parts (torch: decoupled_weight_decay)
        """

Adam: _Adam

class _AdamW(Recipe):
    """Adam whose weight decay stays out of the averages (Loshchilov & Hutter, arXiv:1711.05101)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.01,
        amsgrad: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam whose weight decay stays out of the averages (Loshchilov & Hutter, arXiv:1711.05101).

        AdamW(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.01, amsgrad=False, maximize=False, compile=None)

            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            adam_step         Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            weight_decay      Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
            wd=0.01        weight decay (torch: weight_decay)
            amsgrad=False  an option: it chooses parts
        """

AdamW: _AdamW

class _QHM(Recipe):
    """Steps along a blend of the gradient and its average (Ma & Yarats, arXiv:1810.06801). ν = 1 is averaged momentum."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.999,
        wd: Number = 0.0,
        nu: Number = 0.7,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps along a blend of the gradient and its average (Ma & Yarats, arXiv:1810.06801). ν = 1 is averaged momentum.

        QHM(params, lr=0.001, *, mom=0.999, wd=0.0, nu=0.7, maximize=False, compile=None)

            l2_reg         g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad   m ← β₁·m + (1 − β₁)·g
            blend_average  g ← (1 − ν₁)·g + ν₁·m (Ma & Yarats, arXiv:1810.06801).
            sgd_step       Δθ = −η·g

            lr=0.001   learning rate
            mom=0.999  decay of the average of gradients (torch: momentum)
            wd=0.0     weight decay (torch: weight_decay)
            nu=0.7     share of the average gradient in a step
        """

QHM: _QHM

class _AggMo(Recipe):
    """Steps along the mean of three buffers with decays 0, β₁ and β₃: fast, yet damped (Lucas et al., arXiv:1804.00325)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        wd: Number = 0.0,
        slow_mom: Number = 0.99,
        buffers: Number = 3,
        fast_mom: Number = 0.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: Sequence[float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps along the mean of three buffers with decays 0, β₁ and β₃: fast, yet damped (Lucas et al., arXiv:1804.00325).

        `betas` may have any number of decays, from the fastest to the slowest, and `buffers` says how
        many there are. The paper's exponential form with a = 0.1 is `betas=[1 - .1**i for i in
        range(4)]`.

        AggMo(params, lr=0.001, *, mom=0.9, wd=0.0, slow_mom=0.99, buffers=3, fast_mom=0.0, maximize=False, compile=None)

            l2_reg                                            g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            momentum_buffer[grad_avg=fast_avg]                m₁ ← β₁·m₁ + g: a sum of gradients, each β₁ times the next; the first step's is g itself (Polyak, 1964).
            aggmo_step[grad_avg=fast_avg]                     Δθ = −η/K·m₁, along one of K memories (Lucas et al., arXiv:1804.00325).
            momentum_buffer[grad_avg=slow_avg, mom=slow_mom]  m₂ ← β₃·m₂ + g: a sum of gradients, each β₃ times the next; the first step's is g itself (Polyak, 1964).
            aggmo_step[grad_avg=slow_avg]                     Δθ = −η/K·m₂, along one of K memories (Lucas et al., arXiv:1804.00325).
            aggmo_step[grad_avg=grad]                         Δθ = −η/K·g, along one of K memories (Lucas et al., arXiv:1804.00325).

            lr=0.001       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[1])
            wd=0.0         weight decay (torch: weight_decay)
            slow_mom=0.99  decay of a slower average of gradients (torch: betas[2])
            buffers=3      how many sums of gradients there are
            fast_mom=0.0   decay of the fastest sum of gradients (torch: betas[0])
        """

AggMo: _AggMo

class _ASGD(Recipe):
    """SGD at a falling rate, which also averages its parameters (Polyak & Juditsky, 1992; as in torch). See `eval`."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        wd: Number = 0.0,
        lambd: Number = 0.0001,
        power: Number = 0.75,
        t0: Number = 1000000.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        alpha: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """SGD at a falling rate, which also averages its parameters (Polyak & Juditsky, 1992; as in torch). See `eval`.

        ASGD(params, lr=0.01, *, wd=0.0, lambd=0.0001, power=0.75, t0=1000000.0, maximize=False, compile=None)

            l2_reg                        g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            step_count                    t ← t + 1, for each parameter from its own first step.
            asgd_lr                       ηₜ ← η / (1 + λ′·η·t)^α, for the next step (Bottou, 2010; Xu, arXiv:1107.2490).
            asgd_step                     Δθ = −ηₜ₋₁·g − ηₜ₋₁·λ′·θ, at a remembered rate.
            mean_param[count=prev_count]  w ← w + (θ − w)/max(1, tₜ₋₁ − t₀): the mean of the weights since t₀ (Izmailov et al., arXiv:1803.05407).

            lr=0.01       learning rate
            wd=0.0        weight decay (torch: weight_decay)
            lambd=0.0001  decay of the parameter, and of the learning rate
            power=0.75    power at which the learning rate falls (torch: alpha)
            t0=1000000.0  the step at which averaging begins
        """

ASGD: _ASGD

class _Adagrad(Recipe):
    """Steps along the gradient over the root of the sum of its squares (Duchi et al., JMLR 12, 2011; ε as in torch)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        eps: Number = 1e-10,
        wd: Number = 0.0,
        lr_decay: Number = 0.0,
        initial_accumulator_value: Number = 0.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps along the gradient over the root of the sum of its squares (Duchi et al., JMLR 12, 2011; ε as in torch).

        Adagrad(params, lr=0.01, *, eps=1e-10, wd=0.0, lr_decay=0.0, initial_accumulator_value=0.0, maximize=False, compile=None)

            l2_reg                         g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            step_count                     t ← t + 1, for each parameter from its own first step.
            sum_sqr_grad                   v ← v + g² (Duchi et al., JMLR 12, 2011).
            scale_by_rms[sqr_avg=sqr_sum]  g ← g / (√v + ε): the gradient in units of its own size (Tieleman & Hinton, 2012, Coursera lecture 6e).
            annealed_step                  Δθ = −η/(1 + (t − 1)·ζ)·g

            lr=0.01                        learning rate
            eps=1e-10                      keeps a denominator away from zero
            wd=0.0                         weight decay (torch: weight_decay)
            lr_decay=0.0                   how fast the learning rate falls with the steps
            initial_accumulator_value=0.0  what the sum of squares begins with
        """

Adagrad: _Adagrad

class _Adadelta(Recipe):
    """As RMSprop, in units of its own past steps (Zeiler, arXiv:1212.5701; ε inside both roots, steps without η)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 1.0, *,
        sqr_mom: Number = 0.9,
        eps: Number = 1e-06,
        wd: Number = 0.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        rho: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """As RMSprop, in units of its own past steps (Zeiler, arXiv:1212.5701; ε inside both roots, steps without η).

        Adadelta(params, lr=1.0, *, sqr_mom=0.9, eps=1e-06, wd=0.0, maximize=False, compile=None)

            l2_reg                               g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_sqr_grad                     v ← β₂·v + (1 − β₂)·g²
            scale_by_rms_ratio                   g ← g·√(uₜ₋₁ + ε) / √(v + ε), with u the average square of past results (Zeiler, arXiv:1212.5701, algorithm 1).
            average_sqr_grad[sqr_avg=delta_avg]  u ← β₂·u + (1 − β₂)·g²
            sgd_step                             Δθ = −η·g

            lr=1.0       learning rate
            sqr_mom=0.9  decay of the average of squared gradients (torch: rho)
            eps=1e-06    keeps a denominator away from zero
            wd=0.0       weight decay (torch: weight_decay)
        """

Adadelta: _Adadelta

class _MADGRAD(Recipe):
    """Dual averaging over the cube root of a sum of squares (Defazio & Jelassi, arXiv:2101.11075; ε outside, L2 decay)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        mom: Number = 0.9,
        eps: Number = 1e-06,
        wd: Number = 0.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Dual averaging over the cube root of a sum of squares (Defazio & Jelassi, arXiv:2101.11075; ε outside, L2 decay).

        MADGRAD(params, lr=0.01, *, mom=0.9, eps=1e-06, wd=0.0, maximize=False, compile=None)

            l2_reg                 g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            step_count             t ← t + 1, for each parameter from its own first step.
            first_param            θ₀: where the parameter began.
            sum_grad               s ← s + η·√t·g (Defazio & Jelassi, arXiv:2101.11075, algorithm 1).
            sum_weighted_sqr_grad  v ← v + η·√t·g² (Defazio & Jelassi, arXiv:2101.11075, algorithm 1).
            madgrad_step           θ ← β₁·θ + (1 − β₁)·(θ₀ − s / (∛v + ε)) (Defazio & Jelassi, arXiv:2101.11075, algorithm 1).

            lr=0.01    learning rate
            mom=0.9    decay of the average of gradients (torch: momentum)
            eps=1e-06  keeps a denominator away from zero
            wd=0.0     weight decay (torch: weight_decay)
        """

MADGRAD: _MADGRAD

class _SparseAdam(Recipe):
    """Adam of the rows that a sparse gradient touches (as in torch, ε beside the raw v; Kingma & Ba, arXiv:1412.6980)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
    ) -> Optimizer:
        """Adam of the rows that a sparse gradient touches (as in torch, ε beside the raw v; Kingma & Ba, arXiv:1412.6980).

        SparseAdam(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, maximize=False, compile=None)

            lazy              Of a sparse gradient, moves and remembers only those rows that have one (as torch's SparseAdam).
            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            adam_hat_step     Δθ = −η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m / (√v + ε): ε beside the raw v (Kingma & Ba, arXiv:1412.6980, end of section 2).

            lr=0.001       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
        """

SparseAdam: _SparseAdam

class _Adamax(Recipe):
    """Adam with a decaying maximum for the root mean square (Kingma & Ba, arXiv:1412.6980, section 7; L2 decay)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.002, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam with a decaying maximum for the root mean square (Kingma & Ba, arXiv:1412.6980, section 7; L2 decay).

        Adamax(params, lr=0.002, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, maximize=False, compile=None)

            l2_reg        g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad  m ← β₁·m + (1 − β₁)·g
            max_grad      u ← max(β₂·u, |g| + ε): a norm with an infinite power (Kingma & Ba, arXiv:1412.6980, section 7.1; ε as in torch).
            step_count    t ← t + 1, for each parameter from its own first step.
            adamax_step   Δθ = −η·m̂ / u (Kingma & Ba, arXiv:1412.6980, algorithm 2).

            lr=0.002       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
            wd=0.0         weight decay (torch: weight_decay)
        """

Adamax: _Adamax

class _NAdam(Recipe):
    """Adam with Nesterov's look ahead, along a growing β₁; L2, or decoupled by option (Dozat, 2016; as in torch)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.002, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        momentum_decay: Number = 0.004,
        decouple_wd: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
        decoupled_weight_decay: bool = ...,
    ) -> Optimizer:
        """Adam with Nesterov's look ahead, along a growing β₁; L2, or decoupled by option (Dozat, 2016; as in torch).

        NAdam(params, lr=0.002, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, momentum_decay=0.004, decouple_wd=False, maximize=False, compile=None)

            l2_reg            g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            mom_product       Πμ ← Πμ·μₜ: the weight of the beginning in an average whose decay changes.
            nadam_step        Δθ = −η·((1 − μₜ)·g/(1 − Πμ) + μₜ₊₁·m/(1 − Πμ·μₜ₊₁)) / (√v̂ + ε) (Dozat, 2016; NAdam as in torch).

            lr=0.002              learning rate
            mom=0.9               decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999         decay of the average of squared gradients (torch: betas[1])
            eps=1e-08             keeps a denominator away from zero
            wd=0.0                weight decay (torch: weight_decay)
            momentum_decay=0.004  how fast the decay of the average grows to its end
            decouple_wd=False     an option: it chooses parts (torch: decoupled_weight_decay)
        """

NAdam: _NAdam

class _RAdam(Recipe):
    """Adam that is momentum until its square can be trusted; L2, or decoupled by option (Liu et al., arXiv:1908.03265)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        decouple_wd: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
        decoupled_weight_decay: bool = ...,
    ) -> Optimizer:
        """Adam that is momentum until its square can be trusted; L2, or decoupled by option (Liu et al., arXiv:1908.03265).

        RAdam(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, decouple_wd=False, maximize=False, compile=None)

            l2_reg            g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            radam_step        Δθ = −η·m̂·r·√(1 − β₂ᵗ) / (√v + ε), or −η·m̂ while r is 0 (Liu et al., arXiv:1908.03265, alg. 2; ε as in torch).

            lr=0.001           learning rate
            mom=0.9            decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999      decay of the average of squared gradients (torch: betas[1])
            eps=1e-08          keeps a denominator away from zero
            wd=0.0             weight decay (torch: weight_decay)
            decouple_wd=False  an option: it chooses parts (torch: decoupled_weight_decay)
        """

RAdam: _RAdam

class _NAdamW(Recipe):
    """AdamW one gradient ahead, at a constant β₁ (Dahl et al., arXiv:2306.07179; Dozat and optax debias m by t + 1)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.01,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """AdamW one gradient ahead, at a constant β₁ (Dahl et al., arXiv:2306.07179; Dozat and optax debias m by t + 1).

        NAdamW(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.01, maximize=False, compile=None)

            average_grad              m ← β₁·m + (1 − β₁)·g
            average_sqr_grad          v ← β₂·v + (1 − β₂)·g²
            step_count                t ← t + 1, for each parameter from its own first step.
            blend_average[nu=mom]     g ← (1 − β₁)·g + β₁·m (Ma & Yarats, arXiv:1810.06801).
            adam_step[grad_avg=grad]  Δθ = −η·ĝ / (√v̂ + ε), with ĝ = g / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            weight_decay              Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
            wd=0.01        weight decay (torch: weight_decay)
        """

NAdamW: _NAdamW

class _QHAdam(Recipe):
    """Adam along a blend of gradient and average, over a blend of squares (Ma & Yarats, arXiv:1810.06801)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.995,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        nu: Number = 0.7,
        sqr_nu: Number = 1.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        nus: tuple[float | Tensor, float | Tensor] = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam along a blend of gradient and average, over a blend of squares (Ma & Yarats, arXiv:1810.06801).

        QHAdam(params, lr=0.001, *, mom=0.995, sqr_mom=0.999, eps=1e-08, wd=0.0, nu=0.7, sqr_nu=1.0, maximize=False, compile=None)

            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            qhadam_step       Δθ = −η·((1 − ν₁)·g + ν₁·m̂) / (√((1 − ν₂)·g² + ν₂·v̂) + ε) (Ma & Yarats, arXiv:1810.06801, section 4).
            weight_decay      Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001       learning rate
            mom=0.995      decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
            wd=0.0         weight decay (torch: weight_decay)
            nu=0.7         share of the average gradient in a step (torch: nus[0])
            sqr_nu=1.0     share of the average square in a step (torch: nus[1])
        """

QHAdam: _QHAdam

class _AdaBelief(Recipe):
    """Adam over the root of the average squared surprise; ε is in the state too (Zhuang et al., arXiv:2010.07468)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        rectify: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam over the root of the average squared surprise; ε is in the state too (Zhuang et al., arXiv:2010.07468).

        The paper has ε = 1e-8. The authors' package has ε = 1e-16, as the ε in the state adds up, and
        RAdam's rectification: `rectify=True, eps=1e-16`.

        AdaBelief(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, rectify=False, maximize=False, compile=None)

            average_grad          m ← β₁·m + (1 − β₁)·g
            average_sqr_surprise  v ← β₂·v + (1 − β₂)·(g − m)² + ε, with the new m (Zhuang et al., arXiv:2010.07468, algorithm 2).
            step_count            t ← t + 1, for each parameter from its own first step.
            adam_step             Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            weight_decay          Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
            wd=0.0         weight decay (torch: weight_decay)
            rectify=False  an option: it chooses parts
        """

AdaBelief: _AdaBelief

class _Yogi(Recipe):
    """Adam whose square moves by no more than g²; L2, nothing debiased (Zaheer et al., NeurIPS 2018)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 0.001,
        wd: Number = 0.0,
        initial_accumulator_value: Number = 1e-06,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam whose square moves by no more than g²; L2, nothing debiased (Zaheer et al., NeurIPS 2018).

        The square begins with `initial_accumulator_value`, which the paper leaves open.

        Yogi(params, lr=0.01, *, mom=0.9, sqr_mom=0.999, eps=0.001, wd=0.0, initial_accumulator_value=1e-06, maximize=False, compile=None)

            l2_reg                    g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad              m ← β₁·m + (1 − β₁)·g
            average_sqr_grad_by_sign  v ← v − (1 − β₂)·sign(v − g²)·g²: moves by no more than g² (Zaheer et al., NeurIPS 2018, algorithm 2).
            scaled_step               Δθ = −η·m / (√v + ε): nothing debiased (Zaheer et al., NeurIPS 2018, algorithm 2).

            lr=0.01                          learning rate
            mom=0.9                          decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999                    decay of the average of squared gradients (torch: betas[1])
            eps=0.001                        keeps a denominator away from zero
            wd=0.0                           weight decay (torch: weight_decay)
            initial_accumulator_value=1e-06  what the sum of squares begins with
        """

Yogi: _Yogi

class _LaProp(Recipe):
    """Adam that averages gradients after their scaling, and not before (Ziyin et al., arXiv:2002.04839)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0004, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-15,
        wd: Number = 0.0,
        independent_wd: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam that averages gradients after their scaling, and not before (Ziyin et al., arXiv:2002.04839).

        Decay is AdamW's, η·λ·θ. In the authors' code it is λ·θ, of the parameter after the step:
        `independent_wd=True`. There η is in the average too, which is the same while η stays the same.

        LaProp(params, lr=0.0004, *, mom=0.9, sqr_mom=0.999, eps=1e-15, wd=0.0, independent_wd=False, maximize=False, compile=None)

            average_sqr_grad       v ← β₂·v + (1 − β₂)·g²
            step_count             t ← t + 1, for each parameter from its own first step.
            scale_by_debiased_rms  g ← g / (√v̂ + ε), with v̂ = v / (1 − β₂ᵗ) (Ziyin et al., arXiv:2002.04839, algorithm 1).
            average_grad           m ← β₁·m + (1 − β₁)·g
            debiased_step          Δθ = −η·m / (1 − β₁ᵗ)
            weight_decay           Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.0004             learning rate
            mom=0.9               decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999         decay of the average of squared gradients (torch: betas[1])
            eps=1e-15             keeps a denominator away from zero
            wd=0.0                weight decay (torch: weight_decay)
            independent_wd=False  an option: it chooses parts
        """

LaProp: _LaProp

class _ADOPT(Recipe):
    """LaProp by the last step's square; ε a floor, no debiasing, step 1 only fills (Taniguchi et al., arXiv:2411.02853)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.9999,
        eps: Number = 1e-06,
        wd: Number = 0.0,
        clip: bool = True,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """LaProp by the last step's square; ε a floor, no debiasing, step 1 only fills (Taniguchi et al., arXiv:2411.02853).

        Algorithm 2 clips what is scaled, and algorithm 1 does not: `clip=False`, as `clip_lambda=None`
        in the authors' code. Algorithm 1 also begins m with the first scaled gradient, and not at 0.

        ADOPT(params, lr=0.001, *, mom=0.9, sqr_mom=0.9999, eps=1e-06, wd=0.0, clip=True, maximize=False, compile=None)

            step_count                   t ← t + 1, for each parameter from its own first step.
            average_sqr_grad_from_first  v ← β₂·v + (1 − β₂)·g², and g² itself on the first step (Taniguchi et al., arXiv:2411.02853).
            scale_by_last_rms            g ← g / max(√vₜ₋₁, ε) (Taniguchi et al., arXiv:2411.02853, algorithm 1).
            clip_by_steps                g ← clip(g, ±(t − 1)^(1/4)): bounds that widen with the steps; 0 on the first step (Taniguchi et al., arXiv:2411.02853, algorithm 2).
            average_grad                 m ← β₁·m + (1 − β₁)·g
            momentum_step                Δθ = −η·m
            weight_decay                 Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).
            skip_first_step              Δθ ← 0 on a parameter's first step, decay too (Taniguchi et al., arXiv:2411.02853, as in their code).

            lr=0.001        learning rate
            mom=0.9         decay of the average of gradients (torch: betas[0])
            sqr_mom=0.9999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-06       keeps a denominator away from zero
            wd=0.0          weight decay (torch: weight_decay)
            clip=True       an option: it chooses parts
        """

ADOPT: _ADOPT

class _DiffGrad(Recipe):
    """Adam with friction where the gradient changes little; L2, a first change from 0 (Dubey et al., arXiv:1909.11015)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        raw_eps: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam with friction where the gradient changes little; L2, a first change from 0 (Dubey et al., arXiv:1909.11015).

        In the paper ε is beside the root of v̂, and in the authors' code beside that of the raw v, so
        it is larger at first: `raw_eps=True`.

        DiffGrad(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, raw_eps=False, maximize=False, compile=None)

            l2_reg             g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad       m ← β₁·m + (1 − β₁)·g
            average_sqr_grad   v ← β₂·v + (1 − β₂)·g²
            step_count         t ← t + 1, for each parameter from its own first step.
            adam_step          Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            last_grad          g, for the next step to compare with.
            scale_by_friction  Δθ ← Δθ / (1 + exp(−|gₜ₋₁ − g|)): slower where the gradient changes little (Dubey et al., arXiv:1909.11015).

            lr=0.001       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
            wd=0.0         weight decay (torch: weight_decay)
            raw_eps=False  an option: it chooses parts
        """

DiffGrad: _DiffGrad

class _AdaBound(Recipe):
    """Adam whose rates are clipped to bounds that close in; L2, ε beside the raw v (Luo et al., arXiv:1902.09843)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        final_lr: Number = 0.1,
        bound_rate: Number = 0.001,
        amsbound: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        gamma: Number = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam whose rates are clipped to bounds that close in; L2, ε beside the raw v (Luo et al., arXiv:1902.09843).

        AdaBound(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, final_lr=0.1, bound_rate=0.001, amsbound=False, maximize=False, compile=None)

            l2_reg            g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            adabound_step     Δθ = −clip(η·√(1 − β₂ᵗ)/(1 − β₁ᵗ) / (√v + ε), η₋, η₊)·m (Luo et al., arXiv:1902.09843, alg. 2, as in their code).

            lr=0.001          learning rate
            mom=0.9           decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999     decay of the average of squared gradients (torch: betas[1])
            eps=1e-08         keeps a denominator away from zero
            wd=0.0            weight decay (torch: weight_decay)
            final_lr=0.1      where the bounds of the learning rate meet
            bound_rate=0.001  how fast the bounds of the learning rate close in (torch: gamma)
            amsbound=False    an option: it chooses parts
        """

AdaBound: _AdaBound

class _AdEMAMix(Recipe):
    """Adam along a fast and a slow average; the slow one is not debiased (Pagliardini et al., arXiv:2409.03137)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        slow_mom: Number = 0.9999,
        slow_weight: Number = 5.0,
        warmup: Number = 0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor, float | Tensor] = ...,
        alpha: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam along a fast and a slow average; the slow one is not debiased (Pagliardini et al., arXiv:2409.03137).

        AdEMAMix(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, slow_mom=0.9999, slow_weight=5.0, warmup=0, maximize=False, compile=None)

            average_grad       m ← β₁·m + (1 − β₁)·g
            average_sqr_grad   v ← β₂·v + (1 − β₂)·g²
            step_count         t ← t + 1, for each parameter from its own first step.
            average_slow_grad  m₂ ← β₃·m₂ + (1 − β₃)·g, with a β₃ that may grow.
            ademamix_step      Δθ = −η·(m̂ + α·m₂) / (√v̂ + ε), where m₂ is not debiased (Pagliardini et al., arXiv:2409.03137, algorithm 1).
            weight_decay       Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001         learning rate
            mom=0.9          decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999    decay of the average of squared gradients (torch: betas[1])
            eps=1e-08        keeps a denominator away from zero
            wd=0.0           weight decay (torch: weight_decay)
            slow_mom=0.9999  decay of a slower average of gradients (torch: betas[2])
            slow_weight=5.0  weight of the slower average (torch: alpha)
            warmup=0         steps of the warm-up
        """

AdEMAMix: _AdEMAMix

class _Adan(Recipe):
    """Adam along gradient and its change; β are 1 − the paper's; decay after the step (Xie et al., arXiv:2208.06677)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.98,
        sqr_mom: Number = 0.99,
        eps: Number = 1e-08,
        wd: Number = 0.02,
        diff_mom: Number = 0.92,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam along gradient and its change; β are 1 − the paper's; decay after the step (Xie et al., arXiv:2208.06677).

        Adan(params, lr=0.001, *, mom=0.98, sqr_mom=0.99, eps=1e-08, wd=0.02, diff_mom=0.92, maximize=False, compile=None)

            step_count         t ← t + 1, for each parameter from its own first step.
            average_grad       m ← β₁·m + (1 − β₁)·g
            average_diff       d ← β₂·d + (1 − β₂)·(g − gₜ₋₁), where a first gradient is no change (Xie et al., arXiv:2208.06677).
            average_sqr_ahead  v ← β₃·v + (1 − β₃)·(g + β₂·(g − gₜ₋₁))² (Xie et al., arXiv:2208.06677).
            last_grad          g, for the next step to compare with.
            adan_step          Δθ = −η·(m̂ + β₂·d̂) / (√v̂ + ε) (Xie et al., arXiv:2208.06677, algorithm 1, debiased as in the authors' code).
            proximal_decay     θ ← θ / (1 + η·λ), after the step (Xie et al., arXiv:2208.06677, algorithm 1).

            lr=0.001       learning rate
            mom=0.98       decay of the average of gradients (torch: betas[0])
            sqr_mom=0.99   decay of the average of squared gradients (torch: betas[2])
            eps=1e-08      keeps a denominator away from zero
            wd=0.02        weight decay (torch: weight_decay)
            diff_mom=0.92  decay of the average of changes of the gradient (torch: betas[1])
        """

Adan: _Adan

class _MARS(Recipe):
    """AdamW, or Lion, of gradients with less variance, clipped to norm 1 (Yuan et al., arXiv:2411.10438: approximate)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.003, *,
        mom: Number = 0.95,
        sqr_mom: Number = 0.99,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        variance_scale: Number = 0.025,
        max_norm: Number = 1.0,
        mars_type: str = 'mars-adamw',
        from_zero: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        gamma: Number = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """AdamW, or Lion, of gradients with less variance, clipped to norm 1 (Yuan et al., arXiv:2411.10438: approximate).

        This is the paper's algorithm, for tensors of every shape. The authors' code takes the first
        gradient as a change from 0, `from_zero=True`; and, unless `optimize_1d=True`, AdamW for what is
        not a matrix, `dict(parts=AdamW, lr=3e-3, betas=(.9, .95), wd=.1)` in a group of its own.

        MARS(params, lr=0.003, *, mom=0.95, sqr_mom=0.99, eps=1e-08, wd=0.0, variance_scale=0.025, max_norm=1.0, mars_type='mars-adamw', from_zero=False, maximize=False, compile=None)

            last_grad         g, for the next step to compare with.
            step_count        t ← t + 1, for each parameter from its own first step.
            add_diff          g ← g + γ·β₁/(1 − β₁)·(g − gₜ₋₁): less variance (Yuan et al., arXiv:2411.10438, alg. 2; a first g is kept).
            clip_by_norm      g ← g / max(1, ‖g‖/c), with the norm of this tensor.
            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            adam_step         Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            weight_decay      Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.003                learning rate
            mom=0.95                decay of the average of gradients (torch: betas[0])
            sqr_mom=0.99            decay of the average of squared gradients (torch: betas[1])
            eps=1e-08               keeps a denominator away from zero
            wd=0.0                  weight decay (torch: weight_decay)
            variance_scale=0.025    how much of the change of the gradient MARS adds (torch: gamma)
            max_norm=1.0            largest norm of a gradient
            mars_type='mars-adamw'  an option: it chooses parts
            from_zero=False         an option: it chooses parts
        """

MARS: _MARS

class _Rprop(Recipe):
    """Each element has its own step, longer while the sign stays and shorter when it turns (Riedmiller & Braun, 1993)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        eta_minus: Number = 0.5,
        eta_plus: Number = 1.2,
        min_step: Number = 1e-06,
        max_step: Number = 50.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        etas: tuple[float | Tensor, float | Tensor] = ...,
        step_sizes: tuple[float | Tensor, float | Tensor] = ...,
    ) -> Optimizer:
        """Each element has its own step, longer while the sign stays and shorter when it turns (Riedmiller & Braun, 1993).

        Rprop(params, lr=0.01, *, eta_minus=0.5, eta_plus=1.2, min_step=1e-06, max_step=50.0, maximize=False, compile=None)

            rprop_step_size  Δ ← clip(η⁺·Δ, Δ₋, Δ₊) where the gradient keeps its sign, and η⁻·Δ where it turns (Riedmiller & Braun, 1993).
            drop_turned      g ← g·[g·gₜ₋₁ ≥ 0]: 0 where it has just turned.
            last_grad        g, for the next step to compare with.
            rprop_step       Δθ = −sign(g)·Δ

            lr=0.01         learning rate
            eta_minus=0.5   factor of a step size where the gradient turns (torch: etas[0])
            eta_plus=1.2    factor of a step size where the gradient goes on (torch: etas[1])
            min_step=1e-06  smallest step size (torch: step_sizes[0])
            max_step=50.0   largest step size (torch: step_sizes[1])
        """

Rprop: _Rprop

class _Signum(Recipe):
    """Steps along the sign of the average gradient; decoupled decay (Bernstein et al., arXiv:1802.04434)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0001, *,
        mom: Number = 0.9,
        wd: Number = 0.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps along the sign of the average gradient; decoupled decay (Bernstein et al., arXiv:1802.04434).

        Signum(params, lr=0.0001, *, mom=0.9, wd=0.0, maximize=False, compile=None)

            average_grad              m ← β₁·m + (1 − β₁)·g
            sign_step[grad=grad_avg]  Δθ = −η·sign(m) (Bernstein et al., arXiv:1802.04434, algorithm 1).
            weight_decay              Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.0001  learning rate
            mom=0.9    decay of the average of gradients (torch: momentum)
            wd=0.0     weight decay (torch: weight_decay)
        """

Signum: _Signum

class _Tiger(Recipe):
    """Signum with its author's values: one memory for large models, which may be kept in place of gradients (Su, 2023)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.965,
        wd: Number = 0.01,
        relative: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Signum with its author's values: one memory for large models, which may be kept in place of gradients (Su, 2023).

        The article's η is a step. In the author's code it is relative to the size of the weights:
        `relative=True` multiplies each step, decay too, by RMS(θ). That code leaves biases and gains
        at η/2 without decay, which is a group of its own: `dict(lr=lr / 2, wd=0., relative=False)`. It
        takes RMS(θ) of each row of an embedding, which is not here.

        Tiger(params, lr=0.001, *, mom=0.965, wd=0.01, relative=False, maximize=False, compile=None)

            average_grad              m ← β₁·m + (1 − β₁)·g
            sign_step[grad=grad_avg]  Δθ = −η·sign(m) (Bernstein et al., arXiv:1802.04434, algorithm 1).
            weight_decay              Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001        learning rate
            mom=0.965       decay of the average of gradients (torch: momentum)
            wd=0.01         weight decay (torch: weight_decay)
            relative=False  an option: it chooses parts
        """

Tiger: _Tiger

class _Lion(Recipe):
    """Steps along the sign of a blend (β₁) of average and gradient; then averages (β₂) (Chen et al., arXiv:2302.06675)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0001, *,
        mom: Number = 0.9,
        wd: Number = 0.0,
        avg_mom: Number = 0.99,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Steps along the sign of a blend (β₁) of average and gradient; then averages (β₂) (Chen et al., arXiv:2302.06675).

        Lion(params, lr=0.0001, *, mom=0.9, wd=0.0, avg_mom=0.99, maximize=False, compile=None)

            average_grad[mom=avg_mom]                      m ← β₂·m + (1 − β₂)·g
            blend_average[grad_avg=prev_grad_avg, nu=mom]  g ← (1 − β₁)·g + β₁·mₜ₋₁ (Ma & Yarats, arXiv:1810.06801).
            sign_step                                      Δθ = −η·sign(g) (Bernstein et al., arXiv:1802.04434, algorithm 1).
            weight_decay                                   Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.0001     learning rate
            mom=0.9       decay of the average of gradients (torch: betas[0])
            wd=0.0        weight decay (torch: weight_decay)
            avg_mom=0.99  decay of what Lion remembers (torch: betas[1])
        """

Lion: _Lion

class _LARS(Recipe):
    """Momentum of steps that are a share κ of each tensor's norm; η enters the buffer (You et al., arXiv:1708.03888)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.1, *,
        mom: Number = 0.9,
        wd: Number = 0.0,
        trust: Number = 0.001,
        nesterov: bool = False,
        always_adapt: bool = True,
        trust_clip: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Momentum of steps that are a share κ of each tensor's norm; η enters the buffer (You et al., arXiv:1708.03888).

        Apex and timm have options: `always_adapt=False` (timm's default) leaves tensors without decay
        to plain momentum, and `trust_clip=True` (LARC) never takes a larger rate than η. There η
        multiplies the buffer, which is the same while η stays the same.

        LARS(params, lr=0.1, *, mom=0.9, wd=0.0, trust=0.001, nesterov=False, always_adapt=True, trust_clip=False, maximize=False, compile=None)

            scale_by_layer_trust  g ← κ·‖θ‖·(g + λ·θ) / (‖g‖ + λ·‖θ‖), and g + λ·θ where a norm is 0 (You et al., arXiv:1708.03888, eq. 6).
            scale_by_lr           g ← η·g: what comes after remembers η too.
            momentum_buffer       m ← β₁·m + g: a sum of gradients, each β₁ times the next; the first step's is g itself (Polyak, 1964).
            buffer_step           Δθ = −m, where m has η in it.

            lr=0.1             learning rate
            mom=0.9            decay of the average of gradients (torch: momentum)
            wd=0.0             weight decay (torch: weight_decay)
            trust=0.001        share of its own norm by which a tensor may move
            nesterov=False     an option: it chooses parts
            always_adapt=True  an option: it chooses parts
            trust_clip=False   an option: it chooses parts
        """

LARS: _LARS

class _NovoGrad(Recipe):
    """Momentum of gradients over their tensor's norm; decay enters the buffer (Ginsburg et al., arXiv:1905.11286)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        mom: Number = 0.95,
        sqr_mom: Number = 0.98,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        from_nonzero: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Momentum of gradients over their tensor's norm; decay enters the buffer (Ginsburg et al., arXiv:1905.11286).

        In the paper the average of ‖g‖² begins with the first gradient, even if that is 0. In the
        authors' code it begins with the first that is not: `from_nonzero=True`.

        NovoGrad(params, lr=0.01, *, mom=0.95, sqr_mom=0.98, eps=1e-08, wd=0.0, from_nonzero=False, maximize=False, compile=None)

            step_count                      t ← t + 1, for each parameter from its own first step.
            average_sqr_norm                v ← β₂·v + (1 − β₂)·‖g‖², one number for the tensor; ‖g‖² on the first step (Ginsburg et al., arXiv:1905.11286).
            scale_by_rms[sqr_avg=sqr_norm]  g ← g / (√v + ε): the gradient in units of its own size (Tieleman & Hinton, 2012, Coursera lecture 6e).
            l2_reg                          g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            momentum_buffer                 m ← β₁·m + g: a sum of gradients, each β₁ times the next; the first step's is g itself (Polyak, 1964).
            momentum_step                   Δθ = −η·m

            lr=0.01             learning rate
            mom=0.95            decay of the average of gradients (torch: betas[0])
            sqr_mom=0.98        decay of the average of squared gradients (torch: betas[1])
            eps=1e-08           keeps a denominator away from zero
            wd=0.0              weight decay (torch: weight_decay)
            from_nonzero=False  an option: it chooses parts
        """

NovoGrad: _NovoGrad

class _LAMB(Recipe):
    """AdamW with steps of each tensor's own size; decay is part of that size (You et al., arXiv:1904.00962)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-06,
        wd: Number = 0.01,
        always_adapt: bool = True,
        trust_clip: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """AdamW with steps of each tensor's own size; decay is part of that size (You et al., arXiv:1904.00962).

        Apex and timm have options: `always_adapt=False` (their default) leaves tensors without decay to
        Adam, and `trust_clip=True` (LAMBC) makes no step larger than Adam's. They also clip by the
        global norm of the gradient, as `LAMB + clip_by_global_norm` does.

        LAMB(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-06, wd=0.01, always_adapt=True, trust_clip=False, maximize=False, compile=None)

            average_grad          m ← β₁·m + (1 − β₁)·g
            average_sqr_grad      v ← β₂·v + (1 − β₂)·g²
            step_count            t ← t + 1, for each parameter from its own first step.
            adam_step             Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            weight_decay          Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).
            scale_by_trust_ratio  Δθ ← η·‖θ‖/‖Δθ‖·Δθ, or Δθ where a norm is 0: each tensor moves by its own size (You et al., arXiv:1904.00962).

            lr=0.001           learning rate
            mom=0.9            decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999      decay of the average of squared gradients (torch: betas[1])
            eps=1e-06          keeps a denominator away from zero
            wd=0.01            weight decay (torch: weight_decay)
            always_adapt=True  an option: it chooses parts
            trust_clip=False   an option: it chooses parts
        """

LAMB: _LAMB

class _StableAdamW(Recipe):
    """AdamW that slows down, decay too, where its average square lags behind (Wortsman et al., arXiv:2304.13013)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.99,
        eps: Number = 1e-06,
        wd: Number = 0.01,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """AdamW that slows down, decay too, where its average square lags behind (Wortsman et al., arXiv:2304.13013).

        StableAdamW(params, lr=0.001, *, mom=0.9, sqr_mom=0.99, eps=1e-06, wd=0.01, maximize=False, compile=None)

            average_grad      m ← β₁·m + (1 − β₁)·g
            average_sqr_grad  v ← β₂·v + (1 − β₂)·g²
            step_count        t ← t + 1, for each parameter from its own first step.
            adam_step         Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            weight_decay      Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).
            scale_by_rms_lag  Δθ ← Δθ / max(1, RMS(g / max(√v̂, ε))): slower when v lags behind (Wortsman et al., arXiv:2304.13013, alg. 2).

            lr=0.001      learning rate
            mom=0.9       decay of the average of gradients (torch: betas[0])
            sqr_mom=0.99  decay of the average of squared gradients (torch: betas[1])
            eps=1e-06     keeps a denominator away from zero
            wd=0.01       weight decay (torch: weight_decay)
        """

StableAdamW: _StableAdamW

class _Adafactor(Recipe):
    """The average square as rows times columns; relative steps; decoupled decay (Shazeer & Stern, arXiv:1804.04235)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        eps: Number = 0.0,
        wd: Number = 0.0,
        beta2_decay: Number = -0.8,
        min_scale: Number = 0.001,
        max_rms: Number = 1.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        d: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """The average square as rows times columns; relative steps; decoupled decay (Shazeer & Stern, arXiv:1804.04235).

        Adafactor(params, lr=0.01, *, eps=0.0, wd=0.0, beta2_decay=-0.8, min_scale=0.001, max_rms=1.0, maximize=False, compile=None)

            step_count             t ← t + 1, for each parameter from its own first step.
            average_sqr_rows       R ← (1 − τ)·R + τ·row mean(g²), and of a vector g² itself; τ is the share of a new square (Shazeer & Stern, arXiv:1804.04235, alg. 4).
            average_sqr_columns    C ← (1 − τ)·C + τ·column mean(g²); a vector has none.
            scale_by_factored_rms  g ← g / √(R·C / column mean(R)), and g / √R of a vector; ε is beside the mean, ε² beside the square.
            clip_by_rms            g ← g / max(1, RMS(g)/d) (Shazeer & Stern, arXiv:1804.04235, section 6).
            adafactor_step         Δθ = −max(ε₂, RMS(θ))·ρ·g (Shazeer & Stern, arXiv:1804.04235, algorithm 4).
            weight_decay           Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.01           learning rate
            eps=0.0           keeps a denominator away from zero
            wd=0.0            weight decay (torch: weight_decay)
            beta2_decay=-0.8  power of the step by which a new square counts
            min_scale=0.001   smallest scale of a parameter, for its step (torch: eps[1])
            max_rms=1.0       root mean square above which a step is scaled down (torch: d)
        """

Adafactor: _Adafactor

class _Muon(Recipe):
    """Momentum with all singular values made 1, for matrices (Jordan, 2024; as in torch; Liu et al., arXiv:2502.16982)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.95,
        eps: Number = 1e-07,
        wd: Number = 0.1,
        ns_a: Number = 3.4445,
        ns_b: Number = -4.775,
        ns_c: Number = 2.0315,
        ns_steps: Number = 5,
        nesterov: bool = True,
        adjust_lr_fn: str | None = None,
        iteration: str | None = None,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        ns_coefficients: tuple[float | Tensor, float | Tensor, float | Tensor] = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Momentum with all singular values made 1, for matrices (Jordan, 2024; as in torch; Liu et al., arXiv:2502.16982).

        Muon(params, lr=0.001, *, mom=0.95, eps=1e-07, wd=0.1, ns_a=3.4445, ns_b=-4.775, ns_c=2.0315, ns_steps=5, nesterov=True, adjust_lr_fn=None, iteration=None, maximize=False, compile=None)

            average_grad           m ← β₁·m + (1 − β₁)·g
            blend_average[nu=mom]  g ← (1 − β₁)·g + β₁·m (Ma & Yarats, arXiv:1810.06801).
            orthogonalize          g ← nearly UVᵀ of g = UΣVᵀ: X ← aX + bXXᵀX + c(XXᵀ)²X from g/‖g‖, in bfloat16 as in torch (Jordan, 2024).
            scale_by_shape         g ← √max(1, rows/columns)·g: as large for tall matrices as for square ones (Jordan, 2024).
            sgd_step               Δθ = −η·g
            weight_decay           Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001           learning rate
            mom=0.95           decay of the average of gradients (torch: momentum)
            eps=1e-07          keeps a denominator away from zero
            wd=0.1             weight decay (torch: weight_decay)
            ns_a=3.4445        coefficient of X in Newton–Schulz (torch: ns_coefficients[0])
            ns_b=-4.775        coefficient of XXᵀX in Newton–Schulz (torch: ns_coefficients[1])
            ns_c=2.0315        coefficient of (XXᵀ)²X in Newton–Schulz (torch: ns_coefficients[2])
            ns_steps=5         steps of Newton–Schulz
            nesterov=True      an option: it chooses parts
            adjust_lr_fn=None
            iteration=None
        """

Muon: _Muon

class _NorMuon(Recipe):
    """Muon with the same size for each row of a step, by its average square (Li et al., arXiv:2510.05491; the step's size as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.02, *,
        mom: Number = 0.95,
        sqr_mom: Number = 0.95,
        eps: Number = 1e-10,
        wd: Number = 0.0,
        ns_a: Number = 3.4445,
        ns_b: Number = -4.775,
        ns_c: Number = 2.0315,
        ns_steps: Number = 5,
        ns_eps: Number = 1e-07,
        nesterov: bool = True,
        adjust_lr_fn: str | None = None,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        beta2: Number = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Muon with the same size for each row of a step, by its average square (Li et al., arXiv:2510.05491; the step's size as in their code).

        The paper gives all steps a root mean square of 0.2: that is `adjust_lr_fn='match_rms_adamw'`.

        NorMuon(params, lr=0.02, *, mom=0.95, sqr_mom=0.95, eps=1e-10, wd=0.0, ns_a=3.4445, ns_b=-4.775, ns_c=2.0315, ns_steps=5, ns_eps=1e-07, nesterov=True, adjust_lr_fn=None, maximize=False, compile=None)

            average_grad               m ← β₁·m + (1 − β₁)·g
            blend_average[nu=mom]      g ← (1 − β₁)·g + β₁·m (Ma & Yarats, arXiv:1810.06801).
            orthogonalize[eps=ns_eps]  g ← nearly UVᵀ of g = UΣVᵀ: X ← aX + bXXᵀX + c(XXᵀ)²X from g/‖g‖, in bfloat16 as in torch (Jordan, 2024).
            average_sqr_neurons        R ← β₂·R + (1 − β₂)·row mean(g²) (Li et al., arXiv:2510.05491, algorithm 1).
            scale_by_neurons           g ← g / (√R + ε), scaled to the norm that g had (Li et al., arXiv:2510.05491, algorithm 1; the norm as in their code).
            scale_by_shape             g ← √max(1, rows/columns)·g: as large for tall matrices as for square ones (Jordan, 2024).
            sgd_step                   Δθ = −η·g
            weight_decay               Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.02            learning rate
            mom=0.95           decay of the average of gradients (torch: momentum)
            sqr_mom=0.95       decay of the average of squared gradients (torch: beta2)
            eps=1e-10          keeps a denominator away from zero
            wd=0.0             weight decay (torch: weight_decay)
            ns_a=3.4445        coefficient of X in Newton–Schulz
            ns_b=-4.775        coefficient of XXᵀX in Newton–Schulz
            ns_c=2.0315        coefficient of (XXᵀ)²X in Newton–Schulz
            ns_steps=5         steps of Newton–Schulz
            ns_eps=1e-07       least norm of a matrix before Newton–Schulz
            nesterov=True      an option: it chooses parts
            adjust_lr_fn=None
        """

NorMuon: _NorMuon

class _Scion(Recipe):
    """To the edge of a ball of radius ρ, whose norm fits the kind of layer: `norm` (Pethick et al., arXiv:2502.07529, algorithm 1; without bounds if wd=0)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        eps: Number = 1e-07,
        wd: Number = 1.0,
        ns_a: Number = 3.4445,
        ns_b: Number = -4.775,
        ns_c: Number = 2.0315,
        ns_steps: Number = 5,
        radius: Number = 1.0,
        norm: str = 'spectral',
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        scale: Number = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """To the edge of a ball of radius ρ, whose norm fits the kind of layer: `norm` (Pethick et al., arXiv:2502.07529, algorithm 1; without bounds if wd=0).

        Hidden matrices have 'spectral', an output head or a tied embedding 'sign', an embedding
        'columns' or 'sign', with a larger radius, and biases and norms 'rms'. Their code gives a
        convolution of k × k a radius of ρ/k, and its `momentum` is 1 − `mom`.

        Scion(params, lr=0.001, *, mom=0.9, eps=1e-07, wd=1.0, ns_a=3.4445, ns_b=-4.775, ns_c=2.0315, ns_steps=5, radius=1.0, norm='spectral', maximize=False, compile=None)

            average_grad     m ← β₁·m + (1 − β₁)·g
            use_average      g ← m: what comes after sees the average in the gradient's place.
            orthogonalize    g ← nearly UVᵀ of g = UΣVᵀ: X ← aX + bXXᵀX + c(XXᵀ)²X from g/‖g‖, in bfloat16 as in torch (Jordan, 2024).
            scale_by_aspect  g ← √(rows/columns)·g: no output changes by more than an input of size 1 asks for (Bernstein, 2025).
            scale_to_radius  g ← ρ·g: to the radius of the ball in which a step goes to the edge (arXiv:2502.07529).
            sgd_step         Δθ = −η·g
            weight_decay     Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001         learning rate
            mom=0.9          decay of the average of gradients (torch: momentum)
            eps=1e-07        keeps a denominator away from zero
            wd=1.0           weight decay (torch: weight_decay)
            ns_a=3.4445      coefficient of X in Newton–Schulz
            ns_b=-4.775      coefficient of XXᵀX in Newton–Schulz
            ns_c=2.0315      coefficient of (XXᵀ)²X in Newton–Schulz
            ns_steps=5       steps of Newton–Schulz
            radius=1.0       radius of the ball in which a step goes to the edge (torch: scale)
            norm='spectral'  an option: it chooses parts
        """

Scion: _Scion

class _CAME(Recipe):
    """Adafactor with momentum, which is smaller where gradients surprise it (Luo et al., arXiv:2307.02047)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0002, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-30,
        wd: Number = 0.0,
        surprise_mom: Number = 0.9999,
        surprise_eps: Number = 1e-16,
        max_rms: Number = 1.0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor, float | Tensor] = ...,
        clip_threshold: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adafactor with momentum, which is smaller where gradients surprise it (Luo et al., arXiv:2307.02047).

        Their code has no usual rate; 2e-4 is that of their example. Its `eps=(a, b)` are `eps` and
        `surprise_eps`. A tensor with more dimensions is a stack of matrices.

        CAME(params, lr=0.0002, *, mom=0.9, sqr_mom=0.999, eps=1e-30, wd=0.0, surprise_mom=0.9999, surprise_eps=1e-16, max_rms=1.0, maximize=False, compile=None)

            step_count                                                                                              t ← t + 1, for each parameter from its own first step.
            average_sqr_rows[share=new_share]                                                                       R ← (1 − τ)·R + τ·row mean(g²), and of a vector g² itself; τ is the share of a new square (Shazeer & Stern, arXiv:1804.04235, alg. 4).
            average_sqr_columns[share=new_share]                                                                    C ← (1 − τ)·C + τ·column mean(g²); a vector has none.
            scale_by_factors                                                                                        g ← g / √((R + ε′)·(C + ε′) / column mean(R + ε′)), and g / √(R + ε′) of a vector (Luo et al., arXiv:2307.02047, algorithm 2).
            clip_by_rms                                                                                             g ← g / max(1, RMS(g)/d) (Shazeer & Stern, arXiv:1804.04235, section 6).
            average_grad                                                                                            m ← β₁·m + (1 − β₁)·g
            surprise                                                                                                s = g − m: what the average did not expect.
            average_surprise_rows                                                                                   Rₛ ← β₃·Rₛ + (1 − β₃)·row mean(s²); a vector has none (Luo et al., arXiv:2307.02047, alg. 2).
            average_sqr_columns[column_avg=surprise_columns, grad=surprise, sqr_mom=surprise_mom, share=new_share]  Cₛ ← (1 − τ′)·Cₛ + τ′·column mean(s²); a vector has none.
            use_confident_average                                                                                   g ← m / √((Rₛ + ε′′)·(Cₛ + ε′′) / column mean(Rₛ + ε′′)): smaller where gradients surprise; m of a vector (Luo et al., arXiv:2307.02047, algorithm 2).
            sgd_step                                                                                                Δθ = −η·g
            weight_decay                                                                                            Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.0002            learning rate
            mom=0.9              decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999        decay of the average of squared gradients (torch: betas[1])
            eps=1e-30            keeps a denominator away from zero
            wd=0.0               weight decay (torch: weight_decay)
            surprise_mom=0.9999  decay of the average of squared surprises (torch: betas[2])
            surprise_eps=1e-16   added to each squared surprise
            max_rms=1.0          root mean square above which a step is scaled down (torch: clip_threshold)
        """

CAME: _CAME

class _SM3(Recipe):
    """Adagrad whose sums are bounded by one number for each row, each column, and so on (Anil et al., arXiv:1901.11150: SM3-II with momentum)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.1, *,
        mom: Number = 0.9,
        eps: Number = 1e-30,
        wd: Number = 0.0,
        average: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adagrad whose sums are bounded by one number for each row, each column, and so on (Anil et al., arXiv:1901.11150: SM3-II with momentum).

        Their code has no usual rate. `average=True` is its `beta2` below 1: an average for the sum.

        SM3(params, lr=0.1, *, mom=0.9, eps=1e-30, wd=0.0, average=False, maximize=False, compile=None)

            sqr_bound       v = min(Aₜ₋₁, Bₜ₋₁) + g²: of each element, at least its sum of squares; of a vector that sum itself (Anil et al., arXiv:1901.11150, algorithm SM3-II).
            max_sqr_row     A ← row_maxima(v) (Anil et al., arXiv:1901.11150, algorithm SM3-II).
            max_sqr_column  B ← column_maxima(v); a vector has none.
            max_sqr_inner   The same for each dimension between the first and the last, one after the other.
            scale_by_bound  g ← g / √(v + ε) (Anil et al., arXiv:1901.11150, algorithm SM3-II, with ε as in their code).
            average_grad    m ← β₁·m + (1 − β₁)·g
            momentum_step   Δθ = −η·m
            weight_decay    Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.1         learning rate
            mom=0.9        decay of the average of gradients (torch: momentum)
            eps=1e-30      keeps a denominator away from zero
            wd=0.0         weight decay (torch: weight_decay)
            average=False  an option: it chooses parts
        """

SM3: _SM3

class _AdamMini(Recipe):
    """AdamW with one average square for each block of elements (Zhang et al., arXiv:2406.16793, as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        block: str = 'row',
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """AdamW with one average square for each block of elements (Zhang et al., arXiv:2406.16793, as in their code).

        A block is a row of a matrix, so one output, and an element of a vector; or, with
        `block='tensor'`, all of a tensor, or of a piece of it, if its group has a `view`. The authors
        have 'tensor' for norms, and for each head of queries and keys, 'row' for all other matrices:
        `create(model, 'adammini', overrule={'*.[qk]_proj.weight': dict(block='tensor',
        view='(h=32 d) i -> h d i')})`. A convolution is one block, as with their code.

        AdamMini(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, block='row', maximize=False, compile=None)

            average_grad        m ← β₁·m + (1 − β₁)·g
            average_sqr_by_row  v ← β₂·v + (1 − β₂)·row mean(g²), and of a vector g² itself (Zhang et al., arXiv:2406.16793).
            step_count          t ← t + 1, for each parameter from its own first step.
            adam_mini_step      Δθ = −η·m̂ / (√v̂ + ε), with one v for each block (Zhang et al., arXiv:2406.16793).
            weight_decay        Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001       learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=1e-08      keeps a denominator away from zero
            wd=0.0         weight decay (torch: weight_decay)
            block='row'    an option: it chooses parts
        """

AdamMini: _AdamMini

class _Shampoo(Recipe):
    """Adagrad with a matrix for each side: L^(-1/4)·g·R^(-1/4) (Gupta et al., arXiv:1802.09568; ε, rate and roots as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 1.0, *,
        eps: Number = 0.1,
        wd: Number = 0.0,
        every: Number = 1,
        max_dim: Number = 768,
        root_power: Number = 0.25,
        mom: Number = 0.0,
        graft: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        svd_interval: Number = ...,
        epsilon: Number = ...,
        max_matrix_size: Number = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adagrad with a matrix for each side: L^(-1/4)·g·R^(-1/4) (Gupta et al., arXiv:1802.09568; ε, rate and roots as in their code).

        Shampoo(params, lr=1.0, *, eps=0.1, wd=0.0, every=1, max_dim=768, root_power=0.25, mom=0.0, graft=False, maximize=False, compile=None)

            step_count    t ← t + 1, for each parameter from its own first step.
            sum_left      L ← L + g·gᵀ (Gupta et al., arXiv:1802.09568, algorithm 1; ε is added with the root).
            sum_right     R ← R + gᵀ·g
            left_root     A ← root(L, ε, p), on every k-th step: the power −p of L with ε on its diagonal.
            right_root    B ← root(R, ε, p), on every k-th step.
            precondition  g ← A·g·B (Gupta et al., arXiv:1802.09568, algorithm 1).
            sgd_step      Δθ = −η·g
            weight_decay  Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=1.0           learning rate
            eps=0.1          keeps a denominator away from zero (torch: epsilon)
            wd=0.0           weight decay (torch: weight_decay)
            every=1          steps from one new basis, root or projection to the next (torch: svd_interval)
            max_dim=768      longest side that gets a full matrix (torch: max_matrix_size)
            root_power=0.25  power of the inverse root of a matrix
            mom=0.0          decay of the average of gradients (torch: momentum)
            graft=False      an option: it chooses parts
        """

Shampoo: _Shampoo

class _SOAP(Recipe):
    """Adam in the eigenbases of Shampoo's matrices; the first step only fills these (Vyas et al., arXiv:2409.11321, decay as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.003, *,
        mom: Number = 0.95,
        sqr_mom: Number = 0.95,
        eps: Number = 1e-08,
        wd: Number = 0.01,
        every: Number = 10,
        max_dim: Number = 10000,
        correct_bias: bool = True,
        normalize_grads: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        precondition_frequency: Number = ...,
        max_precond_dim: Number = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam in the eigenbases of Shampoo's matrices; the first step only fills these (Vyas et al., arXiv:2409.11321, decay as in their code).

        SOAP(params, lr=0.003, *, mom=0.95, sqr_mom=0.95, eps=1e-08, wd=0.01, every=10, max_dim=10000, correct_bias=True, normalize_grads=False, maximize=False, compile=None)

            step_count                        t ← t + 1, for each parameter from its own first step.
            left_basis                        U ← eigenvectors of L; later turned, by one turn of power iteration (Vyas et al., arXiv:2409.11321, algorithms 3 and 4).
            right_basis                       V ← eigenvectors of R; later turned, by one turn of power iteration.
            average_left                      L ← β₂·L + (1 − β₂)·g·gᵀ (Gupta et al., arXiv:1802.09568, with an average for the sum).
            average_right                     R ← β₂·R + (1 − β₂)·gᵀ·g
            after_first                       t > 1: the first gradient is only for what comes before this.
            turn                              g ← Uᵀ·g·V: in the eigenbases.
            average_turned                    m ← β₁·m + (1 − β₁)·g, in the eigenbases, so that m is turned when these are (Vyas et al., arXiv:2409.11321, as in their code).
            average_sqr_grad                  v ← β₂·v + (1 − β₂)·g²
            use_average                       g ← m: what comes after sees the average in the gradient's place.
            scale_by_rms                      g ← g / (√v + ε): the gradient in units of its own size (Tieleman & Hinton, 2012, Coursera lecture 6e).
            turn_back                         g ← U·g·Vᵀ: out of the eigenbases.
            corrected_step[count=prev_count]  Δθ = −η·√(1 − β₂^tₜ₋₁)/(1 − β₁^tₜ₋₁)·g, of a g = m / (√v + ε): both averages are debiased.
            weight_decay[param=new_param]     Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.003               learning rate
            mom=0.95               decay of the average of gradients (torch: betas[0])
            sqr_mom=0.95           decay of the average of squared gradients (torch: betas[1])
            eps=1e-08              keeps a denominator away from zero
            wd=0.01                weight decay (torch: weight_decay)
            every=10               steps from one new basis, root or projection to the next (torch: precondition_frequency)
            max_dim=10000          longest side that gets a full matrix (torch: max_precond_dim)
            correct_bias=True      an option: it chooses parts
            normalize_grads=False  an option: it chooses parts
        """

SOAP: _SOAP

class _PSGDKron(Recipe):
    """Momentum, whitened by a triangular factor for each side that learns as it goes (Li, arXiv:1512.04202; as in kron_torch)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0003, *,
        mom: Number = 0.9,
        wd: Number = 0.0,
        max_rms: Number = 1.1,
        max_dim: Number = 8192,
        precond_lr: Number = 0.1,
        init_scale: Number = 1.0,
        max_prob: Number = 1.0,
        min_prob: Number = 0.03,
        prob_decay: Number = 0.001,
        flat_start: Number = 500,
        balance_prob: Number = 0.01,
        seed: Number = 0,
        momentum_into_precond_update: bool = True,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        b1: Number = ...,
        max_size_triangular: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Momentum, whitened by a triangular factor for each side that learns as it goes (Li, arXiv:1512.04202; as in kron_torch).

        The steps that balance both factors, 1 in 100 of those in which they learn, are spread evenly
        here, and drawn in kron_torch: to draw them, set `group['balance_prob']` to
        `float(random.random() < 0.01)` before each step.

        PSGDKron(params, lr=0.0003, *, mom=0.9, wd=0.0, max_rms=1.1, max_dim=8192, precond_lr=0.1, init_scale=1.0, max_prob=1.0, min_prob=0.03, prob_decay=0.001, flat_start=500, balance_prob=0.01, seed=0, momentum_into_precond_update=True, maximize=False, compile=None)

            step_count            t ← t + 1, for each parameter from its own first step.
            waited                How many steps in a row the factors have not learned.
            average_grad          m ← β₁·m + (1 − β₁)·g
            use_debiased_average  g ← m / (1 − β₁ᵗ)
            add_probe             g ← g + 3.45e-4·mean(|g|)·Z: no direction is empty.
            left_factor           Q₁ ← D₁ − μ·triu(W₁·W₁ᵀ − W₂·W₂ᵀ)·D₁/bound(W₁·W₁ᵀ + W₂·W₂ᵀ) (Li, arXiv:1512.04202; as in kron_torch).
            right_factor          Q₂ ← D₂ − μ·triu(W₁ᵀ·W₁ − W₂ᵀ·W₂)·D₂/bound(W₁ᵀ·W₁ + W₂ᵀ·W₂)
            whiten                g ← Q₁ᵀ·Q₁·g·Q₂ᵀ·Q₂ (Li, arXiv:1512.04202).
            clip_by_rms           g ← g / max(1, RMS(g)/d) (Shazeer & Stern, arXiv:1804.04235, section 6).
            sgd_step              Δθ = −η·g
            weight_decay          Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.0003                          learning rate
            mom=0.9                            decay of the average of gradients (torch: b1)
            wd=0.0                             weight decay (torch: weight_decay)
            max_rms=1.1                        root mean square above which a step is scaled down
            max_dim=8192                       longest side that gets a full matrix (torch: max_size_triangular)
            precond_lr=0.1                     learning rate of the factors
            init_scale=1.0                     what the product of both factors begins with
            max_prob=1.0                       share of steps in which factors learn, at first
            min_prob=0.03                      share of steps in which factors learn, in the end
            prob_decay=0.001                   how fast that share falls
            flat_start=500                     steps before that share falls
            balance_prob=0.01                  share of steps in which factors are balanced
            seed=0                             seed of the noise
            momentum_into_precond_update=True  an option: it chooses parts
        """

PSGDKron: _PSGDKron

class _Dion(Recipe):
    """Momentum with all singular values of its first directions made 1, the rest kept for later (Ahn et al., arXiv:2504.05295)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.01, *,
        mom: Number = 0.95,
        eps: Number = 1e-08,
        wd: Number = 0.01,
        rank: Number = 768,
        seed: Number = 0,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        mu: Number = ...,
        epsilon: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Momentum with all singular values of its first directions made 1, the rest kept for later (Ahn et al., arXiv:2504.05295).

        Dion(params, lr=0.01, *, mom=0.95, eps=1e-08, wd=0.01, rank=768, seed=0, maximize=False, compile=None)

            feedback_buffer  m ← m + g − (1 − β₁)·F₁·F₂ᵀ: what the step does not take stays.
            column_factor    Q ← F₂ / (column norm(F₂) + ε)
            low_rank_step    Δθ = −η·√(rows/columns)·F₁·Qᵀ (Ahn et al., arXiv:2504.05295, algorithm 1).
            weight_decay     Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.01    learning rate
            mom=0.95   decay of the average of gradients (torch: mu)
            eps=1e-08  keeps a denominator away from zero (torch: epsilon)
            wd=0.01    weight decay (torch: weight_decay)
            rank=768   number of directions
            seed=0     seed of the noise
        """

Dion: _Dion

class _GaLore(Recipe):
    """Adam in the first singular directions of a gradient, new ones every k steps (Zhao et al., arXiv:2403.03507; decay after the step, as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-06,
        wd: Number = 0.0,
        every: Number = 200,
        rank: Number = 128,
        low_scale: Number = 0.25,
        correct_bias: bool = True,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        update_proj_gap: Number = ...,
        scale: Number = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam in the first singular directions of a gradient, new ones every k steps (Zhao et al., arXiv:2403.03507; decay after the step, as in their code).

        GaLore(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-06, wd=0.0, every=200, rank=128, low_scale=0.25, correct_bias=True, maximize=False, compile=None)

            step_count                     t ← t + 1, for each parameter from its own first step.
            svd_projection                 P ← singular(g, r): the first r singular vectors of its shorter side, every k steps (Zhao et al., arXiv:2403.03507, algorithm 2).
            average_low                    m ← β₁·m + (1 − β₁)·l
            average_sqr_low                v ← β₂·v + (1 − β₂)·l²
            lift                           g ← α·u·Pᵀ, or α·P·u of a wide matrix (Zhao et al., arXiv:2403.03507, algorithm 2).
            corrected_step                 Δθ = −η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·g, of a g = m / (√v + ε): both averages are debiased.
            weight_decay[param=new_param]  Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001           learning rate
            mom=0.9            decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999      decay of the average of squared gradients (torch: betas[1])
            eps=1e-06          keeps a denominator away from zero
            wd=0.0             weight decay (torch: weight_decay)
            every=200          steps from one new basis, root or projection to the next (torch: update_proj_gap)
            rank=128           number of directions
            low_scale=0.25     scale of a step that is made in few directions (torch: scale)
            correct_bias=True  an option: it chooses parts
        """

GaLore: _GaLore

class _APOLLO(Recipe):
    """SGD whose rows are scaled as Adam scales them in random directions (Zhu et al., arXiv:2412.05270). Mini: rank=1, scale=128, scale_type='tensor'."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.001, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-06,
        wd: Number = 0.0,
        every: Number = 200,
        rank: Number = 256,
        low_scale: Number = 1.0,
        growth: Number = 1.01,
        scale_type: str = 'channel',
        correct_bias: bool = True,
        limit: bool = True,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        update_proj_gap: Number = ...,
        scale: Number = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """SGD whose rows are scaled as Adam scales them in random directions (Zhu et al., arXiv:2412.05270). Mini: rank=1, scale=128, scale_type='tensor'.

        APOLLO(params, lr=0.001, *, mom=0.9, sqr_mom=0.999, eps=1e-06, wd=0.0, every=200, rank=256, low_scale=1.0, growth=1.01, scale_type='channel', correct_bias=True, limit=True, maximize=False, compile=None)

            step_count                        t ← t + 1, for each parameter from its own first step.
            random_projection                 P ← random numbers of variance 1/r, every k steps: the same as the authors' code draws (Zhu et al., arXiv:2412.05270, algorithm 1).
            average_low[init=random_low]      m ← β₁·m + (1 − β₁)·l
            average_sqr_low[init=random_low]  v ← β₂·v + (1 − β₂)·l²
            scale_by_channel                  g ← g·‖u‖/(‖l‖ + 1e-8), norms over the few directions: one for each row, or column of a wide matrix (Zhu et al., arXiv:2412.05270, algorithm 1).
            limited_norm                      n ← min(‖g‖, γ·(n + 1e-8)), and ‖g‖ on the first step (Chen et al., arXiv:2410.01623).
            limit_growth                      g ← n·g/‖g‖: its norm does not grow by more than a share.
            scale_by_root                     g ← √α·g: the root, as in the authors' code (Zhu et al., arXiv:2412.05270).
            corrected_step                    Δθ = −η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·g, of a g = m / (√v + ε): both averages are debiased.
            weight_decay[param=new_param]     Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.001              learning rate
            mom=0.9               decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999         decay of the average of squared gradients (torch: betas[1])
            eps=1e-06             keeps a denominator away from zero
            wd=0.0                weight decay (torch: weight_decay)
            every=200             steps from one new basis, root or projection to the next (torch: update_proj_gap)
            rank=256              number of directions
            low_scale=1.0         scale of a step that is made in few directions (torch: scale)
            growth=1.01           how much a norm may grow in a step
            scale_type='channel'  an option: it chooses parts
            correct_bias=True     an option: it chooses parts
            limit=True            an option: it chooses parts
        """

APOLLO: _APOLLO

class _ScheduleFreeSGD(Recipe):
    """SGD with gradients between its iterates and their average, which replaces a schedule (Defazio et al., arXiv:2405.15682)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 1.0, *,
        wd: Number = 0.0,
        warmup: Number = 0,
        interp: Number = 0.9,
        r: Number = 0.0,
        weight_lr_power: Number = 2.0,
        decay_at_z: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        warmup_steps: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """SGD with gradients between its iterates and their average, which replaces a schedule (Defazio et al., arXiv:2405.15682).

        ScheduleFreeSGD(params, lr=1.0, *, wd=0.0, warmup=0, interp=0.9, r=0.0, weight_lr_power=2.0, decay_at_z=False, maximize=False, compile=None)

            step_count                t ← t + 1, for each parameter from its own first step.
            sgd_step[lr=warm_lr]      Δθ = −ηₜ·g
            weight_decay[lr=warm_lr]  Δθ = −ηₜ·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by ηₜ as in torch).
            max_lr[lr=warm_lr]        η₊ ← max(η₊, ηₜ): the largest learning rate so far.
            sum_weight                W ← W + w: the sum of all weights so far.
            base_param                z ← z + Δθ: the base sequence takes the steps of the rule.
            interpolate               Δθ ← c·(zₜ₋₁ − θ) + (1 − β·(1 − c))·Δθ: θ stays at (1 − β)·z + β·x, with x ← x + c·(z − x) (Defazio et al., arXiv:2405.15682, algorithm 1).
            base_average              x = (θ − (1 − β)·z)/β: the average of z, which is to be evaluated.

            lr=1.0               learning rate
            wd=0.0               weight decay (torch: weight_decay)
            warmup=0             steps of the warm-up (torch: warmup_steps)
            interp=0.9           share of the average in the weights that train (torch: momentum)
            r=0.0                power of t by which a step counts in the average
            weight_lr_power=2.0  power of the learning rate by which it counts
            decay_at_z=False     an option: it chooses parts
        """

ScheduleFreeSGD: _ScheduleFreeSGD

class _ScheduleFreeAdamW(Recipe):
    """AdamW whose first average is of iterates, with gradients near it; no schedule is needed (Defazio et al., arXiv:2405.15682)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0025, *,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        warmup: Number = 0,
        interp: Number = 0.9,
        r: Number = 0.0,
        weight_lr_power: Number = 2.0,
        decay_at_z: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        warmup_steps: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """AdamW whose first average is of iterates, with gradients near it; no schedule is needed (Defazio et al., arXiv:2405.15682).

        ScheduleFreeAdamW(params, lr=0.0025, *, sqr_mom=0.999, eps=1e-08, wd=0.0, warmup=0, interp=0.9, r=0.0, weight_lr_power=2.0, decay_at_z=False, maximize=False, compile=None)

            step_count                t ← t + 1, for each parameter from its own first step.
            average_sqr_grad          v ← β₂·v + (1 − β₂)·g²
            scale_by_debiased_rms     g ← g / (√v̂ + ε), with v̂ = v / (1 − β₂ᵗ) (Ziyin et al., arXiv:2002.04839, algorithm 1).
            sgd_step[lr=warm_lr]      Δθ = −ηₜ·g
            weight_decay[lr=warm_lr]  Δθ = −ηₜ·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by ηₜ as in torch).
            max_lr[lr=warm_lr]        η₊ ← max(η₊, ηₜ): the largest learning rate so far.
            sum_weight                W ← W + w: the sum of all weights so far.
            base_param                z ← z + Δθ: the base sequence takes the steps of the rule.
            interpolate               Δθ ← c·(zₜ₋₁ − θ) + (1 − β·(1 − c))·Δθ: θ stays at (1 − β)·z + β·x, with x ← x + c·(z − x) (Defazio et al., arXiv:2405.15682, algorithm 1).
            base_average              x = (θ − (1 − β)·z)/β: the average of z, which is to be evaluated.

            lr=0.0025            learning rate
            sqr_mom=0.999        decay of the average of squared gradients (torch: betas[1])
            eps=1e-08            keeps a denominator away from zero
            wd=0.0               weight decay (torch: weight_decay)
            warmup=0             steps of the warm-up (torch: warmup_steps)
            interp=0.9           share of the average in the weights that train (torch: betas[0])
            r=0.0                power of t by which a step counts in the average
            weight_lr_power=2.0  power of the learning rate by which it counts
            decay_at_z=False     an option: it chooses parts
        """

ScheduleFreeAdamW: _ScheduleFreeAdamW

class _Prodigy(Recipe):
    """AdamW at a rate that grows to the distance from θ₀ to a solution; β₃ is √β₂ by default (Mishchenko & Defazio, arXiv:2306.06101, as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 1.0, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        d0: Number = 1e-06,
        d_coef: Number = 1.0,
        growth_rate: Number = ...,
        d_mom: Number = 0.0,
        decouple_wd: bool = True,
        use_bias_correction: bool = False,
        safeguard_warmup: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        beta3: Number = ...,
        decouple: bool = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """AdamW at a rate that grows to the distance from θ₀ to a solution; β₃ is √β₂ by default (Mishchenko & Defazio, arXiv:2306.06101, as in their code).

        Prodigy(params, lr=1.0, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, d0=1e-06, d_coef=1.0, growth_rate=inf, d_mom=0.0, decouple_wd=True, use_bias_correction=False, safeguard_warmup=False, maximize=False, compile=None)

            first_param                              θ₀: where the parameter began.
            scale_by_rate[lr=last_d]                 g ← last_d·g, for a rate that is found.
            average_grad                             m ← β₁·m + (1 − β₁)·g
            average_sqr_grad                         v ← β₂·v + (1 − β₂)·g²
            sum_faded_grad[d_mom=root_sqr_mom]       s ← root_sqr_mom·s + ρ/d₀·g (arXiv:2306.06101, algorithm 4; in units of d₀ as in the authors' code).
            sum_faded_progress[d_mom=root_sqr_mom]   r ← root_sqr_mom·r + P
            max_distance                             dₘₐₓ ← max(dₘₐₓ, d̂)
            prodigy_d                                d ← min(dₘₐₓ, γ·d), where the first d that is found counts in full (as in the authors' code).
            scaled_step[eps=eps_of_d, lr=rate_of_d]  Δθ = −ρ·m / (√v + ε′): nothing debiased (Zaheer et al., NeurIPS 2018, algorithm 2).
            weight_decay[lr=rate_of_d]               Δθ = −ρ·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by ρ as in torch).

            lr=1.0                     learning rate
            mom=0.9                    decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999              decay of the average of squared gradients (torch: betas[1])
            eps=1e-08                  keeps a denominator away from zero
            wd=0.0                     weight decay (torch: weight_decay)
            d0=1e-06                   distance to a solution that a run begins with
            d_coef=1.0                 factor of the distance that is found
            growth_rate=inf            most by which the distance grows in a step
            d_mom=0.0                  decay of the sums that find the distance (torch: beta3)
            decouple_wd=True           an option: it chooses parts (torch: decouple)
            use_bias_correction=False  an option: it chooses parts
            safeguard_warmup=False     an option: it chooses parts
        """

Prodigy: _Prodigy

class _DAdaptAdam(Recipe):
    """Adam at a rate that grows to the distance from θ₀ to a solution; m has the rate in it (Defazio & Mishchenko, arXiv:2301.07733, algorithm 5, as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 1.0, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        d0: Number = 1e-06,
        growth_rate: Number = ...,
        decouple_wd: bool = False,
        use_bias_correction: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        decouple: bool = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam at a rate that grows to the distance from θ₀ to a solution; m has the rate in it (Defazio & Mishchenko, arXiv:2301.07733, algorithm 5, as in their code).

        DAdaptAdam(params, lr=1.0, *, mom=0.9, sqr_mom=0.999, eps=1e-08, wd=0.0, d0=1e-06, growth_rate=inf, decouple_wd=False, use_bias_correction=False, maximize=False, compile=None)

            l2_reg                                              g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            average_progress[d_mom=root_sqr_mom]                r ← root_sqr_mom·r + (1 − root_sqr_mom)·P (arXiv:2301.07733, algorithm 5).
            average_sqr_grad                                    v ← β₂·v + (1 − β₂)·g²
            scale_by_rate[lr=rate_of_d]                         g ← ρ·g, for a rate that is found.
            average_grad                                        m ← β₁·m + (1 − β₁)·g
            average_grad[grad_avg=faded_sum, mom=root_sqr_mom]  s ← root_sqr_mom·s + (1 − root_sqr_mom)·g
            adapted_d[found=adam_distance[d_mom=root_sqr_mom]]  d ← max(d, min(d̂, γ·d))
            use_average                                         g ← m: what comes after sees the average in the gradient's place.
            scale_by_rms                                        g ← g / (√v + ε): the gradient in units of its own size (Tieleman & Hinton, 2012, Coursera lecture 6e).
            buffer_step[grad_avg=grad]                          Δθ = −g, where g has η in it.

            lr=1.0                     learning rate
            mom=0.9                    decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999              decay of the average of squared gradients (torch: betas[1])
            eps=1e-08                  keeps a denominator away from zero
            wd=0.0                     weight decay (torch: weight_decay)
            d0=1e-06                   distance to a solution that a run begins with
            growth_rate=inf            most by which the distance grows in a step
            decouple_wd=False          an option: it chooses parts (torch: decouple)
            use_bias_correction=False  an option: it chooses parts
        """

DAdaptAdam: _DAdaptAdam

class _DAdaptSGD(Recipe):
    """Dual averaging at a rate that grows to the distance to a solution, over ‖g₀‖; L2 decay (Defazio & Mishchenko, arXiv:2301.07733, algorithm 4, as in their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 1.0, *,
        mom: Number = 0.0,
        wd: Number = 0.0,
        d0: Number = 1e-06,
        growth_rate: Number = ...,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Dual averaging at a rate that grows to the distance to a solution, over ‖g₀‖; L2 decay (Defazio & Mishchenko, arXiv:2301.07733, algorithm 4, as in their code).

        As there, ‖g₀‖ is that of gradients without decay. So decay is large where the first gradients
        are tiny: give none there.

        DAdaptSGD(params, lr=1.0, *, mom=0.0, wd=0.0, d0=1e-06, growth_rate=inf, maximize=False, compile=None)

            first_norm                                 G₀ ← √S, the norm of the first gradient that is not 0.
            l2_reg                                     g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            first_param                                θ₀: where the parameter began.
            scale_by_rate[lr=rate_of_d[lr=normed_lr]]  g ← ρ·g, for a rate that is found.
            sum_progress                               r ← r + P
            sum_rated_grad                             s ← s + g
            adapted_d[found=sgd_distance]              d ← max(d, min(d̂, γ·d))
            dual_step                                  θ ← β₁·θ + (1 − β₁)·(θ₀ − s): dual averaging, with momentum (arXiv:2301.07733, algorithm 4).

            lr=1.0           learning rate
            mom=0.0          decay of the average of gradients (torch: momentum)
            wd=0.0           weight decay (torch: weight_decay)
            d0=1e-06         distance to a solution that a run begins with
            growth_rate=inf  most by which the distance grows in a step
        """

DAdaptSGD: _DAdaptSGD

class _DoG(Recipe):
    """SGD at the largest distance from θ₀ so far, over the root of the sum of squared norms; L2 (Ivgi et al., arXiv:2302.12022; their code takes each group for itself)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 1.0, *,
        eps: Number = 1e-08,
        wd: Number = 0.0,
        d_rel: Number = 1e-06,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        reps_rel: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """SGD at the largest distance from θ₀ so far, over the root of the sum of squared norms; L2 (Ivgi et al., arXiv:2302.12022; their code takes each group for itself).

        DoG(params, lr=1.0, *, eps=1e-08, wd=0.0, d_rel=1e-06, maximize=False, compile=None)

            l2_reg               g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            first_param          θ₀: where the parameter began.
            max_moved            d ← max(d, √D), from ρ·(1 + √N) on (Ivgi et al., arXiv:2302.12022, section 2).
            sum_sqr_norm         G ← G + S, with the norm of all gradients (arXiv:2302.12022, equation 2).
            sgd_step[lr=dog_lr]  Δθ = −ηₜ·g

            lr=1.0       learning rate
            eps=1e-08    keeps a denominator away from zero
            wd=0.0       weight decay (torch: weight_decay)
            d_rel=1e-06  first distance, over 1 and the norm of the parameters (torch: reps_rel)
        """

DoG: _DoG

class _SAM(Recipe):
    """Momentum along the gradient at the top of a climb of length ρ; `recipe + sam` for others (Foret et al., arXiv:2010.01412; adaptive: Kwon et al., arXiv:2102.11600)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.1, *,
        mom: Number = 0.9,
        wd: Number = 0.0,
        rho: Number = 0.05,
        adaptive: bool = False,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        momentum: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Momentum along the gradient at the top of a climb of length ρ; `recipe + sam` for others (Foret et al., arXiv:2010.01412; adaptive: Kwon et al., arXiv:2102.11600).

        `asam_eta` is the η of the latter, whose code scales nothing but weights: 0.01 is added to each.

        SAM(params, lr=0.1, *, mom=0.9, wd=0.0, rho=0.05, adaptive=False, maximize=False, compile=None)

            climb_phase      1 where the parameters climb, and 0 where they go back and the step is made.
            keep_start       The parameters from which a climb begins.
            return_to_start  θ ← θ₀ after a climb, bit for bit.
            climb_step       Δθ = σ·g in a climb: up along all gradients, by ρ (Foret et al., arXiv:2010.01412, eq. 2).
            at_top           The step is made with the gradient from the top.
            l2_reg           g ← g + λ·θ: the gradient of the loss plus λ/2·‖θ‖².
            momentum_buffer  m ← β₁·m + g: a sum of gradients, each β₁ times the next; the first step's is g itself (Polyak, 1964).
            momentum_step    Δθ = −η·m

            lr=0.1          learning rate
            mom=0.9         decay of the average of gradients (torch: momentum)
            wd=0.0          weight decay (torch: weight_decay)
            rho=0.05        length of the climb to where the gradient is taken
            adaptive=False  an option: it chooses parts
        """

SAM: _SAM

class _Sophia(Recipe):
    """Momentum over the Hessian's diagonal, clipped to a sign; fed B·∇L̂², by Gauss–Newton–Bartlett (Liu et al., arXiv:2305.14342, SophiaG with the defaults of their code)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0001, *,
        mom: Number = 0.965,
        eps: Number = 1e-15,
        wd: Number = 0.1,
        hess_mom: Number = 0.99,
        hess_scale: Number = 0.04,
        hess_every: Number = 10,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        rho: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Momentum over the Hessian's diagonal, clipped to a sign; fed B·∇L̂², by Gauss–Newton–Bartlett (Liu et al., arXiv:2305.14342, SophiaG with the defaults of their code).

        Their code keeps the average of ∇L̂² and multiplies it by ρ·B in the step; here B is in what is
        fed, as in the paper, so ρ is γ. Their loop first measures before step k, and the paper, as
        here, before step 1. The paper has γ = 0.05, β₁ = 0.96 and ε = 1e-12.

        Sophia(params, lr=0.0001, *, mom=0.965, eps=1e-15, wd=0.1, hess_mom=0.99, hess_scale=0.04, hess_every=10, maximize=False, compile=None)

            step_count                                                t ← t + 1, for each parameter from its own first step.
            hess                                                      The Hessian's diagonal, or an estimate of it: on every k-th step, from the first one on (Liu et al., arXiv:2305.14342, algorithm 3).
            average_grad                                              m ← β₁·m + (1 − β₁)·g
            average_grad[grad=hess, grad_avg=hess_avg, mom=hess_mom]  h ← β₂·h + (1 − β₂)·ĥ
            sophia_step                                               Δθ = −η·clip(m / max(γ·h, ε), ±1) (Liu et al., arXiv:2305.14342, algorithm 3; their code divides by γ·max(h, 0) + ε).
            weight_decay                                              Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.0001        learning rate
            mom=0.965        decay of the average of gradients (torch: betas[0])
            eps=1e-15        keeps a denominator away from zero
            wd=0.1           weight decay (torch: weight_decay)
            hess_mom=0.99    decay of the average of the Hessian's diagonal (torch: betas[1])
            hess_scale=0.04  share of the average Hessian that divides a step (torch: rho)
            hess_every=10    steps from one estimate of the Hessian to the next
        """

Sophia: _Sophia

class _SophiaH(Recipe):
    """Sophia with a diagonal that Hutchinson's method estimates, which may be negative (Liu et al., arXiv:2305.14342, SophiaH)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.0001, *,
        mom: Number = 0.96,
        eps: Number = 1e-12,
        wd: Number = 0.1,
        hess_mom: Number = 0.99,
        hess_scale: Number = 0.01,
        hess_every: Number = 10,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        gamma: Number = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Sophia with a diagonal that Hutchinson's method estimates, which may be negative (Liu et al., arXiv:2305.14342, SophiaH).

        SophiaH(params, lr=0.0001, *, mom=0.96, eps=1e-12, wd=0.1, hess_mom=0.99, hess_scale=0.01, hess_every=10, maximize=False, compile=None)

            step_count                                                t ← t + 1, for each parameter from its own first step.
            hess                                                      The Hessian's diagonal, or an estimate of it: on every k-th step, from the first one on (Liu et al., arXiv:2305.14342, algorithm 3).
            average_grad                                              m ← β₁·m + (1 − β₁)·g
            average_grad[grad=hess, grad_avg=hess_avg, mom=hess_mom]  h ← β₂·h + (1 − β₂)·ĥ
            sophia_step                                               Δθ = −η·clip(m / max(γ·h, ε), ±1) (Liu et al., arXiv:2305.14342, algorithm 3; their code divides by γ·max(h, 0) + ε).
            weight_decay                                              Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.0001        learning rate
            mom=0.96         decay of the average of gradients (torch: betas[0])
            eps=1e-12        keeps a denominator away from zero
            wd=0.1           weight decay (torch: weight_decay)
            hess_mom=0.99    decay of the average of the Hessian's diagonal (torch: betas[1])
            hess_scale=0.01  share of the average Hessian that divides a step (torch: gamma)
            hess_every=10    steps from one estimate of the Hessian to the next
        """

SophiaH: _SophiaH

class _AdaHessian(Recipe):
    """Adam over the root mean square of the Hessian's diagonal, by Hutchinson (Yao et al., arXiv:2006.00719; for convolutions, they feed its mean over each kernel)."""
    def __call__(  # type: ignore[override]
        self, params: Params, lr: Number = 0.15, *,
        mom: Number = 0.9,
        sqr_mom: Number = 0.999,
        eps: Number = 0.0001,
        wd: Number = 0.0,
        hess_every: Number = 1,
        maximize: bool = False,
        compile: bool | None = None,
        fused: bool | None = None,
        foreach: bool | None = None,
        view: str = ...,
        betas: tuple[float | Tensor, float | Tensor] = ...,
        weight_decay: Number = ...,
    ) -> Optimizer:
        """Adam over the root mean square of the Hessian's diagonal, by Hutchinson (Yao et al., arXiv:2006.00719; for convolutions, they feed its mean over each kernel).

        AdaHessian(params, lr=0.15, *, mom=0.9, sqr_mom=0.999, eps=0.0001, wd=0.0, hess_every=1, maximize=False, compile=None)

            average_grad                 m ← β₁·m + (1 − β₁)·g
            step_count                   t ← t + 1, for each parameter from its own first step.
            hess                         The Hessian's diagonal, or an estimate of it: on every k-th step, from the first one on (Liu et al., arXiv:2305.14342, algorithm 3).
            average_sqr_grad[grad=hess]  v ← β₂·v + (1 − β₂)·ĥ²
            adam_step                    Δθ = −η·m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) (Kingma & Ba, arXiv:1412.6980, algorithm 1).
            weight_decay                 Δθ = −η·λ·θ: decay apart from the gradient (Loshchilov & Hutter, arXiv:1711.05101; scaled by η as in torch).

            lr=0.15        learning rate
            mom=0.9        decay of the average of gradients (torch: betas[0])
            sqr_mom=0.999  decay of the average of squared gradients (torch: betas[1])
            eps=0.0001     keeps a denominator away from zero
            wd=0.0         weight decay (torch: weight_decay)
            hess_every=1   steps from one estimate of the Hessian to the next
        """

AdaHessian: _AdaHessian
