"""Thirty-digit density of the T-step vanilla tanh network from theory.md (9); no code of the package.

The mean field and every expectation are plain trapezoidal sums in mpmath; (9) is solved by Newton's method in
w, followed in small steps of log λ from the right edge, where λ'(w) = 0.
"""

from mpmath import mp, mpc, mpf


class TanhReference:
    def __init__(self, sigma_w, sigma_b, T, gaussian, step="0.08", digits=30):
        mp.dps = digits + 8
        self.sigma_w, self.sigma_b, self.T, self.gaussian = mpf(sigma_w), mpf(sigma_b), T, gaussian
        h, n = mpf(step), int(mpf("12.6") / mpf(step))
        self.z = [h * k for k in range(-n, n + 1)]
        self.weight = [h * mp.exp(-(z**2) / 2) / mp.sqrt(2 * mp.pi) for z in self.z]
        self.q = self._variance()
        self.squares = [mp.sech(mp.sqrt(self.q) * z) ** 4 for z in self.z]  # φ'² at the nodes
        self.chi = self.sigma_w**2 * mp.fsum(p * d for p, d in zip(self.weight, self.squares, strict=True))

    def _variance(self):
        """Fixed point q = σ_w² E[tanh²(√q z)] + σ_b², by the secant method on q."""

        def defect(q):
            root = mp.sqrt(q)
            mean = mp.fsum(p * mp.tanh(root * z) ** 2 for p, z in zip(self.weight, self.z, strict=True))
            return q - self.sigma_w**2 * mean - self.sigma_b**2

        return mp.findroot(defect, (mpf("0.05"), mpf("0.1")))

    def m(self, w):
        """m(w) = E[φ'²/(w − φ'²)] and its derivative."""
        parts = [(p * d, 1 / (w - d)) for p, d in zip(self.weight, self.squares, strict=True)]
        return mp.fsum(a * r for a, r in parts), -mp.fsum(a * r * r for a, r in parts)

    def log_lambda(self, w):
        """log λ(w) of (9), up to 2πi, and its derivative."""
        m, slope = self.m(w)
        T, k = self.T, self.T if self.gaussian else 0
        value = T * mp.log(w) + (T - 1) * (mp.log(m) - mp.log(1 + m)) + k * mp.log(1 + m)
        derivative = T / w + slope * ((T - 1) / m - (T - 1 - k) / (1 + m))
        return value + 2 * T * mp.log(self.sigma_w), derivative

    def edge(self):
        """(w, log λ) at the right edge: the largest real w with λ'(w) = 0."""
        step = mpf("1e-6")
        high = mpf(3) + self.T
        while self.log_lambda(high)[1] > 0:
            high = 1 + (high - 1) / mpf("1.2")
        low, high = high, 1 + (high - 1) * mpf("1.2")
        w = mp.findroot(lambda w: self.log_lambda(w)[1], (low, high), solver="anderson", tol=mpf(10) ** -60)
        value, _ = self.log_lambda(w)
        second = (self.log_lambda(w + step)[1] - self.log_lambda(w - step)[1]) / (2 * step)
        return w, value, second

    def density(self, fractions):
        """ρ(λ) of s² at λ = fraction · right edge, for decreasing fractions; returns [(λ, ρ)]."""
        w, top, second = self.edge()
        target = mp.log(mpf(1) - mpf("0.002"))
        w = w + mpc(0, 1) * mp.sqrt(-2 * target / second)
        current, answers = target, []
        for goal in (mp.log(mpf(f)) for f in fractions):
            steps = max(1, int(mp.ceil((current - goal) / mpf("0.15"))))
            for k in range(1, steps + 1):
                w = self._newton(w, top + current + (goal - current) * k / steps)
            current = goal
            m, _ = self.m(w)
            value = mp.exp(top + goal)
            answers.append((value, abs(m.imag) / (mp.pi * value)))
        return answers

    def _newton(self, w, goal):
        for _ in range(60):
            value, slope = self.log_lambda(w)
            gap = value - goal
            gap -= mpc(0, 2 * mp.pi) * mp.nint(gap.imag / (2 * mp.pi))
            change = gap / slope
            w = w - change
            if abs(change) < mpf(10) ** (-mp.dps + 6) * abs(w):
                return w
        raise ArithmeticError("Newton did not converge")
