"""How a free oscillator settles: dz/dt = (I - z z^T) h on the unit sphere of R^d, in closed form and integrated, and
what disturbs it.

``drives`` h and states z are [..., d]; times are in units of 1/kappa, the inverse rate of coupling of the device. The
one attractive equilibrium is z* = h/|h|; its rate is |h|, whatever d. arXiv:2606.12059, and closed forms derived here.
"""

from typing import Any

import numpy as np
from scipy import integrate, special

TINY = 1e-300
"""So that a drive of nothing, which leaves an oscillator where it is, divides by no zero."""


def norms(vectors: Any) -> Any:
    """Return the length of each of ``vectors`` [..., d], [...]."""
    return np.sqrt(np.sum(vectors * vectors, axis=-1))


def fixed_points(drives: Any) -> Any:
    """Return the equilibria h/|h|; zero where there is no drive."""
    return drives / np.maximum(norms(drives), TINY)[..., None]


def uniform(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Return points drawn uniformly on the sphere; the last entry of ``shape`` is d."""
    return fixed_points(rng.standard_normal(shape))


def trajectory(starts: Any, drives: Any, time: Any) -> Any:
    """Return the states after ``time`` in closed form: in the plane of start and drive, at the angle theta from the
    equilibrium, tan(theta/2) falls as exp(-|h| time). Without drive a state stays.

    Written in exponentials that fall, so that no |h| time is too large.
    """
    length = norms(drives)
    goal = fixed_points(drives)
    along = np.sum(starts * goal, axis=-1)
    decay = np.exp(-length * time)
    # cos theta = (1 - q) / (1 + q) with q = tan(theta/2)^2, and the part across shrinks by 2 e / (1 + c + e^2 (1 - c)).
    below = (1 + along) + decay**2 * (1 - along)
    cosine = ((1 + along) - decay**2 * (1 - along)) / np.maximum(below, TINY)
    across = (starts - along[..., None] * goal) * (2 * decay / np.maximum(below, TINY))[..., None]
    moved = cosine[..., None] * goal + across
    return np.where((below > TINY)[..., None] & (length > 0)[..., None], moved, starts)


def settle_times(starts: Any, drives: Any, error: float) -> Any:
    """Return when each state has come within the distance ``error`` of its equilibrium, 0 where it is already, infinite
    where it never does: ln(tan(theta0/2) / tan(asin(error/2))) / |h|."""
    goal = fixed_points(drives)
    along = np.clip(np.sum(starts * goal, axis=-1), -1, 1)
    return times_from(np.sqrt((1 - along) / (1 + along + TINY)), norms(drives), error)


def times_from(tangents: Any, lengths: Any, error: float) -> Any:
    """Return the same from tan(theta0/2) and |h|."""
    log = np.log(np.maximum(tangents, TINY) / np.tan(np.arcsin(error / 2)))
    return np.where(log <= 0, 0.0, np.where(lengths > 0, log / np.maximum(lengths, TINY), np.inf))


def euler(starts: Any, drives: Any, step: float, count: int) -> Any:
    """Return the states after ``count`` steps of Euler's rule, each followed by a return to the sphere.

    Converges where step |h| < 2, alone: beyond that a state swings between two points (`orbit_angle`).
    """
    states = starts
    for _ in range(count):
        pull = drives - np.sum(states * drives, axis=-1)[..., None] * states
        states = fixed_points(states + step * pull)
    return states


def orbit_angle(strength: float) -> float:
    """Return the angle from the equilibrium, degrees, at which Euler's rule swings to and fro with step |h| =
    ``strength`` above 2: the root of 2 cos(t) = a cos(2t); 0 at 2 and below."""
    if strength <= 2:
        return 0.0
    # 2 a c^2 - 2 c - a = 0 with c = cos t.
    return float(np.degrees(np.arccos((1 + np.sqrt(1 + 2 * strength**2)) / (2 * strength))))


def runge_kutta(start: Any, drive: Any, time: float, tolerance: float = 1e-10) -> tuple[Any, int]:
    """Return the state of one oscillator after ``time`` by an adaptive rule of order 5(4), and how many times the
    right-hand side was evaluated."""
    found = integrate.solve_ivp(
        lambda _, z: drive - (z @ drive) * z, (0.0, time), start, method="RK45", rtol=tolerance, atol=tolerance
    )
    return found.y[:, -1], int(found.nfev)


def cap(angle: float, dimension: int) -> float:
    """Return the probability that a uniform start lies within ``angle`` (radians, at most a right one) of the point
    opposite to the equilibrium; proposition 4 of arXiv:2606.12059."""
    return float(0.5 * special.betainc((dimension - 1) / 2, 0.5, np.sin(angle) ** 2))


def unsettled(lengths: Any, time: float, error: float, dimension: int) -> Any:
    """Return the probability that an oscillator from a uniform start has not come within ``error`` by ``time``: that it
    began in a cap around the opposite point."""
    reach = np.tan(np.arcsin(error / 2)) * np.exp(np.minimum(lengths * time, 700.0))
    # Those that began at more than 2 atan(reach) from the equilibrium: within pi less that of its opposite.
    opposite = np.pi - 2 * np.arctan(reach)
    share = 0.5 * special.betainc((dimension - 1) / 2, 0.5, np.sin(opposite) ** 2)
    return np.where(opposite <= np.pi / 2, share, 1 - share)


def lag(offset: Any, lengths: Any) -> Any:
    """Return the angle by which an oscillator of frequency ``offset`` stays behind, d = 2, radians; nan where it does
    not lock, |offset| > |h| (Adler)."""
    ratio = np.divide(offset, lengths, out=np.full(np.broadcast(offset, lengths).shape, np.inf), where=lengths > 0)
    return np.where(np.abs(ratio) <= 1, np.arcsin(np.clip(ratio, -1, 1)), np.nan)


def detuned(starts: Any, drives: Any, offsets: Any, time: Any) -> Any:
    """Return the states [..., 2] after ``time`` of oscillators whose frequencies are ``offsets`` apart, in closed form,
    whether they lock or not.

    With w = tan(theta/2), theta the angle from h/|h|, Adler's dtheta/dt = offset - |h| sin(theta) is Riccati's equation
    dw/dt = offset/2 w^2 - |h| w + offset/2. As w = p/q it is linear, d(p, q)/dt = A (p, q), and A^2 = m^2 I with m^2 =
    (|h|^2 - offset^2)/4, so that exp(A t) = cosh(m t) I + sinh(m t)/m A; where m^2 < 0, cosine and sine.
    """
    length, goal = norms(drives), fixed_points(drives)
    # Without drive the goal is nothing: any direction does to measure angles from.
    goal = np.where((length > 0)[..., None], goal, [1.0, 0.0])
    angle = np.arctan2(goal[..., 0] * starts[..., 1] - goal[..., 1] * starts[..., 0], np.sum(goal * starts, axis=-1))
    square = (length**2 - offsets**2) / 4
    phase = np.sqrt(np.abs(square)) * time
    growth = np.divide(np.tanh(phase), phase, out=np.ones_like(phase), where=phase > 0)
    # Divided by the hyperbolic cosine, which w does not see and which overflows.
    of_one = np.where(square < 0, np.cos(phase), 1.0)
    of_matrix = time * np.where(square < 0, np.sinc(phase / np.pi), growth)
    p, q = np.sin(angle / 2), np.cos(angle / 2)
    turned = 2 * np.arctan2(
        of_one * p + of_matrix * (offsets * q - length * p) / 2, of_one * q + of_matrix * (length * q - offsets * p) / 2
    )
    return turn(goal, turned)


def turn(states: Any, angles: Any) -> Any:
    """Return the states [..., 2] turned by ``angles``, radians."""
    x, y = states[..., 0], states[..., 1]
    return np.stack([x * np.cos(angles) - y * np.sin(angles), x * np.sin(angles) + y * np.cos(angles)], axis=-1)


def quantised(values: Any, bits: int, top: Any) -> Any:
    """Return ``values`` of 0 .. ``top`` at the nearest of 2^bits even levels; as they are where ``bits`` is 0."""
    if not bits:
        return values
    levels = 2**bits - 1
    scale = np.maximum(top, TINY) / levels
    return np.clip(np.rint(values / scale), 0, levels) * scale


def lengths_drawn(count: int, coefficient: float, exponent: float, rng: np.random.Generator) -> Any:
    """Return |h| drawn from the law P(|h| < x) = coefficient x^exponent, up to where it is 1."""
    return (rng.random(count) / coefficient) ** (1 / exponent)
