"""Simultaneous PSF fits of neighbouring sources: fluxes and positions of all at once.

Gauss-Newton steps in flux and position of every member of a blend on the union of their stamps.
The model that is taken from the data is that of the whole PSFs, also where a member's stamp ends,
so that the wings of far neighbours count; only the normal matrix is cut to stamps and near pairs,
which changes the way to the solution, not the solution. Its inverse carries the covariance of the
neighbours: the flux error of a close pair is larger than that of a single source.
"""

import numpy as np

from skydelta.cutouts import CHUNK, flat, pixel
from skydelta.psf_fit import MAX_SHIFT, damped, moves, psf_shifter, summary

COUPLING_FWHM = 2.5
"""Sources closer than this, in FWHM, share normal equations: beyond it their PSFs correlate by
less than 1e-3."""

_ROUNDS = 15

_CONVERGED = 2e-3

_WORTH_PARTING = 0.8
"""Converged sets are set aside once no more than this part of the sources still moves."""

_RELAXED = 0.4
"""Part of a step made in a blend too large for joint equations: it then converges also where
several neighbours overlap."""


def sky_sources(sources):
    """(n,) bool: empty positions among the detections, which belong to no blend or dipole."""
    if "is_sky" in sources.dtype.names:
        return sources["is_sky"]
    return np.zeros(len(sources), bool)


def blend_groups(x, y, footprints, distance):
    """Number of the group of each source: same footprint, or a chain of near neighbours.

    Parameters
    ----------
    x, y
        (n,) positions, px.
    footprints
        (n,) number of the footprint each source lies in.
    distance
        px; nearer sources of different footprints belong together, too.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(x)
    if n == 0:
        return np.zeros(0, int)
    _, first, inverse = np.unique(footprints, return_index=True, return_inverse=True)
    near = near_pairs(x, y, distance)
    rows = np.r_[np.arange(n), near[:, 0]]
    links = np.r_[first[inverse], near[:, 1]]
    graph = coo_matrix((np.ones(rows.size), (rows, links)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def near_pairs(x, y, distance):
    """(n, 2) indices of sources closer than `distance` px."""
    from scipy.spatial import cKDTree

    if len(x) < 2:
        return np.zeros((0, 2), int)
    tree = cKDTree(np.column_stack([x, y]))
    return np.sort(tree.query_pairs(distance, output_type="ndarray"), axis=1)


def fit_blends(pixels, psf, x, y, groups, half, fwhm, *, max_members=100, light=None):
    """Joint fits of all sources given.

    Parameters
    ----------
    pixels
        skydelta.cutouts.Pixels.
    psf
        Psf.
    x, y
        (n,) first positions, px.
    groups
        (n,) from `blend_groups`.
    half
        Half width of the stamps, px.
    fwhm
        Of the PSF, px.
    max_members
        Larger sets of overlapping sources are fitted in turn, and their errors leave out the
        covariance of neighbours.
    light
        (ny, nx) array that is taken off the data first, or None. All models are added to it.

    Returns
    -------
    dict
        As of `skydelta.psf_fit.fit_stamps`, and the flag ``too_many``.
    """
    light = np.zeros(pixels.shape) if light is None else light
    parts, order = [], []
    for index in _chunks(groups):
        scene = _Scene(pixels, psf, (x[index], y[index]), half, fwhm, light)
        parts.append(scene.fit(max_members))
        order.append(index)
    back = np.argsort(np.concatenate(order))
    return {name: np.concatenate([p[name] for p in parts])[back] for name in parts[0]}


def add_models(image, psf, x, y, flux):
    """Add PSFs of given fluxes at given positions, px, to an image, in place."""
    xi, yi = np.rint(x).astype(int), np.rint(y).astype(int)
    half = psf.size // 2
    shifter, _ = psf_shifter(psf, x, y, half)
    models = shifter.shifted(x - xi, y - yi) * flux[:, None, None]
    box, inside = _box(image.shape, xi, yi, half)
    np.add.at(image.reshape(-1), box.ravel(), (models * inside).ravel())


def _chunks(groups):
    """Indices of whole groups, about CHUNK sources at a time."""
    order = np.argsort(groups, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(groups[order])) + 1, len(order)]
    start = 0
    for end in ends:
        if end - start >= CHUNK or end == len(order):
            yield order[start:end]
            start = end


_PER_SOURCE = (
    "xi",
    "yi",
    "start",
    "shift",
    "flux",
    "limit",
    "data",
    "variance",
    "good",
    "box",
    "whole_box",
    "whole_inside",
)


class _Scene:
    """Sources fitted together; `light` holds all models that are not theirs."""

    def __init__(self, pixels, psf, start, half, fwhm, light):
        x, y = start
        self.xi, self.yi = pixel(x, pixels), pixel(y, pixels, axis=0)
        self.start = np.column_stack([x - self.xi, y - self.yi]).astype(float)
        self.shift = self.start.copy()
        self.flux = np.zeros(len(x))
        self.canvas = light.reshape(-1)
        self.box, _ = _box(pixels.shape, self.xi, self.yi, half)
        self.data, self.variance, self.good = pixels.stamps(self.xi, self.yi, half)
        self.whole_box, self.whole_inside = _box(pixels.shape, self.xi, self.yi, psf.size // 2)
        self.shifter, _ = psf_shifter(psf, x, y, half)
        self.whole, _ = psf_shifter(psf, x, y, psf.size // 2)
        reach = min(COUPLING_FWHM * fwhm, 2 * half)
        self.pairs = near_pairs(x, y, reach)
        self.limit = _limits(x, y, self.pairs)

    def take(self, index):
        """The same for some of the sources: all members of any set that overlaps, or none."""
        part = object.__new__(_Scene)
        for name in _PER_SOURCE:
            setattr(part, name, getattr(self, name)[index])
        part.canvas = self.canvas
        part.shifter, part.whole = self.shifter.take(index), self.whole.take(index)
        place = np.full(len(self.flux), -1)
        place[index] = np.arange(len(index))
        kept = place[self.pairs]
        part.pairs = kept[kept[:, 0] >= 0]
        return part

    def fit(self, max_members):
        """Columns of the fits; the models stay on the canvas."""
        groups = _Components(len(self.flux), self.pairs, max_members)
        self._step(groups, self._columns(), positions=False)
        self._find_positions(max_members)
        columns = self._columns()
        self._step(groups, columns, positions=False)
        self._paint(1.0)
        residual = np.where(self.good, self.data - self.canvas[self.box], 0.0)
        stuck = np.any(np.abs(self.shift - self.start) >= self.limit[:, None], axis=1)
        whole = (self.shifter.shifted(*self.shift.T) ** 2).sum(axis=(1, 2))
        values = self.xi + self.shift[:, 0], self.yi + self.shift[:, 1], self.flux
        covariance = self._covariance(groups, columns)
        profile = columns[:, 0], whole
        result = summary(values, covariance, profile, residual, self.variance, stuck)
        return result | {"too_many": groups.too_many}

    def _find_positions(self, max_members):
        """Rounds of joint steps; sets that have converged wait on the canvas."""
        part, index, waiting = self, np.arange(len(self.flux)), []
        for _ in range(_ROUNDS):
            groups = _Components(len(index), part.pairs, max_members)
            change = part._step(groups, part._columns(), positions=True)
            self.shift[index], self.flux[index] = part.shift, part.flux
            moving = groups.any_member(np.abs(change).max(axis=1) > _CONVERGED)
            if not moving.any():
                break
            if moving.mean() < _WORTH_PARTING:
                rest = part.take(np.flatnonzero(~moving))
                rest._paint(1.0)
                waiting.append(rest)
                part, index = part.take(np.flatnonzero(moving)), index[moving]
        for rest in waiting:
            rest._paint(-1.0)

    def _columns(self):
        return self.shifter.columns(*self.shift.T) * self.good[:, None]

    def _paint(self, sign):
        """All models onto the canvas, or off it."""
        np.add.at(self.canvas, self.whole_box.ravel(), sign * self._models())

    def _models(self):
        models = self.whole.shifted(*self.shift.T) * self.flux[:, None, None]
        models *= self.whole_inside
        return models.ravel()

    def _residual(self):
        """Data less all models, on each source's stamp."""
        models, where = self._models(), self.whole_box.ravel()
        np.add.at(self.canvas, where, models)
        residual = np.where(self.good, self.data - self.canvas[self.box], 0.0)
        np.subtract.at(self.canvas, where, models)
        return residual

    def _step(self, groups, columns, *, positions):
        used = columns if positions else columns[:, :1]
        rows = flat(used)
        right = (rows @ flat(self._residual())[..., None])[..., 0]
        own, shared = self._normal(used)
        step = groups.solve(own, shared, right)
        self.flux = self.flux + step[:, 0]
        if not positions:
            return np.zeros(0)
        move = moves(step[:, 1:], self.flux)
        limit = self.limit[:, None]
        moved = np.clip(self.shift + move, self.start - limit, self.start + limit)
        change = moved - self.shift
        self.shift = moved
        return change

    def _normal(self, columns, weight=None):
        """Normal matrices of each source, (n, k, k), and of each pair, (n_pairs, k, k)."""
        rows = flat(columns)
        heavy = rows if weight is None else rows * flat(weight)[:, None]
        own = heavy @ rows.transpose(0, 2, 1)
        shared = np.zeros((len(self.pairs), *own.shape[1:]))
        for start in range(0, len(self.pairs), CHUNK):
            k, other = self.pairs[start : start + CHUNK].T
            there = self._seen_from(columns, k, other)
            mine = flat(columns[k]) if weight is None else flat(columns[k] * weight[k][:, None])
            shared[start : start + CHUNK] = mine @ flat(there).transpose(0, 2, 1)
        return own, shared

    def _seen_from(self, columns, k, other):
        """Columns of the sources `other` on the stamps of the sources `k`."""
        size = columns.shape[-1]
        rows = np.arange(size) + (self.yi[k] - self.yi[other])[:, None]
        cols = np.arange(size) + (self.xi[k] - self.xi[other])[:, None]
        inside = ((rows >= 0) & (rows < size))[:, :, None] & ((cols >= 0) & (cols < size))[:, None]
        rows, cols = np.clip(rows, 0, size - 1), np.clip(cols, 0, size - 1)
        values = columns[other[:, None, None], :, rows[:, :, None], cols[:, None, :]]
        return np.where(inside[..., None], values, 0.0).transpose(0, 3, 1, 2)

    def _covariance(self, groups, columns):
        own, shared = self._normal(columns)
        noise, shared_noise = self._normal(columns, self.variance)
        return groups.sandwich(own, shared, noise, shared_noise)


def _box(shape, xi, yi, half):
    """Flat indices of the pixels of stamps, clipped, and which lie inside the image."""
    ny, nx = shape
    offset = np.arange(-half, half + 1)
    rows, cols = yi[:, None] + offset, xi[:, None] + offset
    inside = ((rows >= 0) & (rows < ny))[:, :, None] & ((cols >= 0) & (cols < nx))[:, None]
    rows, cols = np.clip(rows, 0, ny - 1), np.clip(cols, 0, nx - 1)
    return rows[:, :, None] * nx + cols[:, None], inside


def _limits(x, y, pairs):
    """How far each position may go: less than half way to the nearest neighbour."""
    limit = np.full(len(x), MAX_SHIFT)
    distance = np.hypot(x[pairs[:, 0]] - x[pairs[:, 1]], y[pairs[:, 0]] - y[pairs[:, 1]])
    for end in pairs.T:
        np.minimum.at(limit, end, 0.45 * distance)
    return np.maximum(limit, 0.1)


class _Components:
    """Sets of overlapping sources and their joint equations, in batches of equal size."""

    def __init__(self, n, pairs, max_members):
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        self.pairs = pairs
        label = connected_components(graph, directed=False)[1]
        size = np.bincount(label, minlength=1)
        self.too_many = size[label] > max_members
        # Members of a set too large for joint equations stand alone, and go on by half steps.
        order = np.argsort(label, kind="stable")
        first = np.r_[0, np.cumsum(size)[:-1]]
        rank = np.empty(n, int)
        rank[order] = np.arange(n) - first[label[order]]
        self._label = label
        self.batches = []
        joint = ~self.too_many[pairs[:, 0]]
        for m in np.unique(size[size <= max_members]):
            chosen = np.flatnonzero(size == m)
            members = order[first[chosen][:, None] + np.arange(m)]
            inside = np.flatnonzero(joint & (size[label[pairs[:, 0]]] == m))
            place = np.searchsorted(chosen, label[pairs[inside, 0]])
            ends = rank[pairs[inside, 0]], rank[pairs[inside, 1]]
            self.batches.append((members, inside, place, ends))

    def any_member(self, flags):
        """Which sources have a member of their set, themselves or another, with the flag."""
        return np.bincount(self._label, flags, minlength=1)[self._label] > 0

    def _assembled(self, batch, own, shared):
        members, inside, place, (i, j) = batch
        count, m = members.shape
        k = own.shape[-1]
        matrix = np.zeros((count, m, k, m, k))
        every = np.arange(m)
        matrix[:, every, :, every, :] = own[members].transpose(1, 0, 2, 3)
        matrix[place, i, :, j, :] = shared[inside]
        matrix[place, j, :, i, :] = shared[inside].transpose(0, 2, 1)
        return matrix.reshape(count, m * k, m * k)

    def solve(self, own, shared, right):
        """Steps (n, k) of the normal equations with right-hand sides (n, k)."""
        step = np.zeros_like(right)
        alone = np.flatnonzero(self.too_many)
        step[alone] = (
            _RELAXED * np.linalg.solve(damped(own[alone]), right[alone][..., None])[..., 0]
        )
        for batch in self.batches:
            members = batch[0]
            matrix = damped(self._assembled(batch, own, shared))
            side = right[members].reshape(len(members), -1, 1)
            step[members] = np.linalg.solve(matrix, side).reshape(*members.shape, -1)
        return step

    def sandwich(self, own, shared, noise, shared_noise):
        """(n, k, k) blocks of the covariance of a fit with equal weights."""
        out = np.zeros_like(own)
        alone = np.flatnonzero(self.too_many)
        inverse = np.linalg.inv(damped(own[alone]))
        out[alone] = inverse @ noise[alone] @ inverse
        for batch in self.batches:
            members = batch[0]
            count, m = members.shape
            inverse = np.linalg.inv(damped(self._assembled(batch, own, shared)))
            middle = self._assembled(batch, noise, shared_noise)
            full = (inverse @ middle @ inverse).reshape(count, m, -1, m, own.shape[-1])
            every = np.arange(m)
            out[members] = full[:, every, :, every, :].transpose(1, 0, 2, 3)
        return out
