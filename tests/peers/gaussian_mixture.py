"""What scikit-learn's GaussianMixture makes of the values of tests/trainer/clean_pairs_test.cpp, from the best cut of the
sorted values as its start: the lines of that test's table. Needs scikit-learn (1.9.1 made them)."""
import warnings

import numpy as np
from sklearn.mixture import GaussianMixture

warnings.simplefilter("ignore")


def values(kind):
    u = [((i * 7919) % 1009) / 1009.0 for i in range(400)]
    mixed = [u[i] * u[i] * 0.3 if i % 4 else 0.55 + 0.4 * u[i] for i in range(400)]
    return np.array(mixed if kind == 0 else [x * x * x for x in u]).reshape(-1, 1)


class FromBestCut(GaussianMixture):
    def _initialize_parameters(self, X, *_args, **_kwargs):
        s, n = np.sort(X[:, 0]), len(X)
        cuts = [i for i in range(1, n) if s[i] != s[i - 1]]
        best = max(cuts, key=lambda i: s[:i].sum() ** 2 / i + s[i:].sum() ** 2 / (n - i))
        shares = np.zeros((n, 2))
        shares[np.arange(n), (X[:, 0] >= s[best]).astype(int)] = 1
        self._initialize(X, shares)


for kind in (0, 1):
    x = values(kind)
    for iterations, tolerance, floor in ((10, 1e-2, 5e-4), (100, 1e-4, 1e-6), (3, 1e-12, 5e-4)):
        fit = FromBestCut(n_components=2, max_iter=iterations, tol=tolerance, reg_covar=floor).fit(x)
        order = np.argsort(fit.means_[:, 0])
        first = fit.predict_proba(x)[:, order[0]]
        numbers = [*fit.weights_[order], *fit.means_[order, 0], *fit.covariances_[order, 0, 0]]
        print("{%d, {%d, %g, %g}, {%s}, %d, %s, %.16g, %d}," % (
            kind, iterations, tolerance, floor, ", ".join("%.16g" % v for v in numbers), fit.n_iter_,
            str(fit.converged_).lower(), first[12], (first > 0.5).sum()))
