import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydelta import sphere

ARCSEC = math.radians(1 / 3600)


def square(ra, dec, side, *, angle=0.0, shift=(0.0, 0.0)):
    """A square of great circles: side in rad on the plane tangent at ra, dec (deg)."""
    corners = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    return tangent(
        ra, dec, [(side * (x + shift[0]), side * (y + shift[1])) for x, y in corners], angle=angle
    )


def tangent(ra, dec, points, *, angle=0.0):
    """A polygon from gnomonic coordinates (rad, east and north) at ra, dec (deg)."""
    a, d = np.radians([ra, dec])
    frame = np.array(
        [
            [-np.sin(a), np.cos(a), 0.0],
            [-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)],
            [np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)],
        ]
    )
    c, s = np.cos(angle), np.sin(angle)
    plane = np.array([(c * x - s * y, s * x + c * y, 1.0) for x, y in points])
    vectors = plane @ frame
    return tuple(map(tuple, (vectors / np.linalg.norm(vectors, axis=1)[:, None]).tolist()))


def square_area(side):
    """Solid angle of a square of side 2 tan(half) on the tangent plane, exact."""
    t2 = (side / 2) ** 2
    return 4 * math.asin(t2 / (1 + t2))


def shared(a, b):
    return sphere.area(sphere.intersection(a, sphere.edge_normals(b)))


class TestArea:
    def test_octant(self):
        assert sphere.area(((1, 0, 0), (0, 1, 0), (0, 0, 1))) == pytest.approx(math.pi / 2)

    @pytest.mark.parametrize("side", [0.01 * ARCSEC, ARCSEC, 0.01, 0.5])
    @pytest.mark.parametrize(("ra", "dec"), [(0, 0), (57, -31), (359.999, 10), (5, 90), (5, -90)])
    def test_square_of_any_size_anywhere(self, ra, dec, side):
        # A corner is rounded to 1e-16 rad.
        assert sphere.area(square(ra, dec, side)) == pytest.approx(
            square_area(side), rel=1e-12 + 1e-15 / side
        )

    def test_clockwise_is_negative_and_polygon_turns_it(self):
        corners = square(10, 20, 0.1)
        assert sphere.area(corners[::-1]) == pytest.approx(-sphere.area(corners))
        ra, dec = zip(*map(sphere.sky_position, corners[::-1]), strict=True)
        assert sphere.area(sphere.polygon(ra, dec)) == pytest.approx(sphere.area(corners))

    def test_dart(self):
        """A polygon with a corner that points inwards: half of the square around it."""
        dart = tangent(30, 60, [(-h, -h) for h in (1e-3,)] + [(0.0, 0.0), (1e-3, -1e-3), (0, 1e-3)])
        assert sphere.area(dart) == pytest.approx(1e-6, rel=1e-5)


def test_positions_round_trip():
    for ra, dec in [(0, 0), (359.999999, -89.9), (180, 45), (57.076576, -31.143652)]:
        back = sphere.sky_position(sphere.unit_vector(ra, dec))
        assert back == pytest.approx((ra, dec), abs=1e-11)


def test_separation_of_close_and_opposite_points():
    a = sphere.unit_vector(10, 80)
    assert sphere.separation(a, sphere.unit_vector(10, 80 + 1e-6 / 3600)) == pytest.approx(
        1e-6 * ARCSEC, rel=1e-3
    )
    assert sphere.separation((0, 0, 1), (0, 0, -1)) == pytest.approx(math.pi)


class TestIntersection:
    @pytest.mark.parametrize(("ra", "dec"), [(0, 0), (0, 90), (12, -90), (359.99, 89.9)])
    def test_half_overlap(self, ra, dec):
        a, b = square(ra, dec, 1e-3), square(ra, dec, 1e-3, shift=(0.5, 0))
        assert shared(a, b) / sphere.area(a) == pytest.approx(0.5, abs=1e-6)

    def test_identical_is_exact(self):
        a = square(57, -31, 4e-3, angle=0.3)
        assert sphere.intersection(a, sphere.edge_normals(a)) == a
        assert sphere.difference(a, sphere.edge_normals(a)) == []

    def test_disjoint_touching_and_antipodal(self):
        a = square(57, -31, 4e-3)
        for other in (
            square(57, -31, 4e-3, shift=(1.5, 0)),
            square(57, -31, 4e-3, shift=(1.0, 0)),
            square(237, 31, 4e-3),
        ):
            assert shared(a, other) == pytest.approx(0, abs=1e-12 * sphere.area(a))
            assert sum(map(sphere.area, sphere.difference(a, sphere.edge_normals(other)))) == (
                pytest.approx(sphere.area(a))
            )

    def test_across_ra_zero(self):
        a = sphere.polygon([359.9, 0.1, 0.1, 359.9], [-0.1, -0.1, 0.1, 0.1])
        b = sphere.polygon([0.0, 0.2, 0.2, 0.0], [-0.1, -0.1, 0.1, 0.1])
        assert sphere.area(a) == pytest.approx(math.radians(0.2) ** 2, rel=1e-5)
        # Edges between corners of equal declination bulge polewards, those of b more to the east.
        assert shared(a, b) / sphere.area(a) == pytest.approx(0.5, rel=1e-6)

    def test_two_squares_at_45_degrees_share_a_regular_octagon(self):
        a, b = square(80, 70, 1e-4), square(80, 70, 1e-4, angle=math.pi / 4)
        assert shared(a, b) / sphere.area(a) == pytest.approx(2 * (math.sqrt(2) - 1), rel=1e-7)

    def test_bounding_boxes_would_lie(self):
        """A diamond's corner region: the boxes overlap, the polygons do not."""
        diamond = square(80, 70, 1e-3, angle=math.pi / 4)
        corner = square(80, 70, 1e-4, shift=(5.5, 5.5))
        assert shared(corner, diamond) == 0.0

    def test_offset_widens_the_polygon(self):
        a = square(80, 70, 1e-3)
        beside = square(80, 70, 1e-3, shift=(1.01, 0))  # a gap of 1e-5 rad
        normals = sphere.edge_normals(beside)
        assert sphere.intersection(a, normals, 0.9e-5) == ()
        assert sphere.intersection(a, normals, 1.1e-5) != ()

    def test_concave_subject(self):
        """A U clipped across its arms: two separate parts, one exact area."""
        u = tangent(
            200,
            -80,
            [
                (x * 1e-3, y * 1e-3)
                for x, y in [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
            ],
        )
        top = tangent(
            200, -80, [(x * 1e-3, y * 1e-3) for x, y in [(-1, 2), (4, 2), (4, 5), (-1, 5)]]
        )
        assert shared(u, top) == pytest.approx(2e-6, rel=1e-4)

    @settings(max_examples=60, deadline=None)
    @given(
        st.floats(0, 360),
        st.floats(-90, 90),
        st.floats(-1, 1),
        st.floats(-1, 1),
        st.floats(0, 7),
        st.floats(-6, -1),
    )
    def test_parts_add_up(self, ra, dec, x, y, angle, log_side):
        side = 10**log_side
        a = square(ra, dec, side)
        normals = sphere.edge_normals(square(ra, dec, side, angle=angle, shift=(x, y)))
        inside = sphere.area(sphere.intersection(a, normals))
        outside = [sphere.area(piece) for piece in sphere.difference(a, normals)]
        tolerance = 1e-6 * sphere.area(a)
        assert min([inside, *outside]) > -tolerance
        assert inside + sum(outside) == pytest.approx(sphere.area(a), abs=tolerance)


class TestPieces:
    L_SHAPE = ((0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2))

    def test_convex_is_left_alone(self):
        a = square(1, 2, 1e-3)
        assert sphere.is_convex(a)
        assert sphere.convex_pieces(a) == [a]

    def test_concave_is_tiled(self):
        shape = tangent(300, 45, [(x * 1e-3, y * 1e-3) for x, y in self.L_SHAPE])
        pieces = sphere.convex_pieces(shape)
        assert not sphere.is_convex(shape)
        assert all(sphere.is_convex(piece) for piece in pieces)
        assert sum(map(sphere.area, pieces)) == pytest.approx(sphere.area(shape))
        for k, piece in enumerate(pieces):
            for other in pieces[k + 1 :]:
                assert shared(piece, other) == pytest.approx(0, abs=1e-15)

    def test_bow_tie_is_refused(self):
        bow = tangent(300, 45, [(0, 0), (1e-3, 1e-3), (1e-3, 0), (0, 2e-3)])
        with pytest.raises(ValueError, match="crosses itself"):
            sphere.convex_pieces(bow)

    def test_simplified_keeps_corners_and_drops_points_between(self):
        side = [i / 4 for i in range(4)]
        points = [(t, 0) for t in side] + [(1, t) for t in side]
        points += [(1 - t, 1) for t in side] + [(0, 1 - t) for t in side]
        outline = tangent(10, 10, [(x * 1e-2, y * 1e-2) for x, y in points])
        assert sphere.simplified(outline, 1e-9) == outline[::4]
        bulge = list(outline)
        bulge[2] = tangent(10, 10, [(0.5e-2, -1e-6)])[0]
        assert sphere.simplified(tuple(bulge), 1e-5) == outline[::4]
        assert bulge[2] in sphere.simplified(tuple(bulge), 1e-7)


class TestCapIndex:
    def test_finds_what_a_full_search_finds(self):
        rng = np.random.default_rng(3)
        vectors = rng.normal(size=(300, 3))
        vectors /= np.linalg.norm(vectors, axis=1)[:, None]
        caps = [
            (tuple(v), r)
            for v, r in zip(vectors.tolist(), 10 ** rng.uniform(-4, 0, 300), strict=True)
        ]
        index = sphere.CapIndex(caps)
        for centre, radius in caps[:40]:
            expected = {
                i for i, (c, r) in enumerate(caps) if sphere.separation(centre, c) <= radius + r
            }
            assert set(index.meeting(centre, radius)) == expected
        i, angle = index.nearest((0.0, 0.0, 1.0))
        assert angle == pytest.approx(min(sphere.separation((0, 0, 1), c) for c, _ in caps))
        assert sphere.separation((0, 0, 1), caps[i][0]) == pytest.approx(angle)

    def test_bounding_cap_of_a_polar_square(self):
        centre, radius = sphere.bounding_cap(square(0, 90, 0.02))
        assert centre == pytest.approx((0, 0, 1), abs=1e-15)
        assert radius == pytest.approx(math.atan(0.01 * math.sqrt(2)))
