"""Features averaged over views of images."""

import numpy as np
import pytest

from tests.attribution.cases import checkpoints, digits, image_examples, mlp, token_examples
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import open_features
from thresher.attribution.gradients.views import viewed
from thresher.attribution.scoring.scores import score_blocks
from thresher.errors import InputError


def made(examples, out, **options):
    return open_features(featurize(checkpoints(mlp, 1), examples, out=out, k=16, store_dtype="float32", **options).path)


def all_of(store):
    return np.concatenate([block for _, block in store.blocks(0)])


def changed(examples, path, change):
    images = np.stack([change(image) for image in np.asarray(examples.images)])
    return image_examples(path, images, np.asarray(examples.labels), prefix=path.name)


def shifted(rows, columns):
    def change(image):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
        return padded[1 - rows :, 1 - columns :][: image.shape[0], : image.shape[1]]

    return change


def test_features_are_the_mean_over_pools_changed_by_hand(tmp_path):
    plain = digits(tmp_path / "plain", slice(0, 12))
    mirror = changed(plain, tmp_path / "mirror", lambda image: image[:, ::-1])
    down, up = (changed(plain, tmp_path / f"shift{by}", shifted(by, by)) for by in (1, -1))
    pools = {"same": plain, "mirror": mirror, "down": down, "up": up}
    one = {name: made(pool, tmp_path / f"features-{name}") for name, pool in pools.items()}
    flip = made(plain, tmp_path / "flip", views=("flip",))
    shift = made(plain, tmp_path / "shift", views=("shift",))
    np.testing.assert_allclose(all_of(flip), (all_of(one["same"]) + all_of(one["mirror"])) / 2, rtol=1e-4, atol=1e-5)
    three = (all_of(one["same"]) + all_of(one["down"]) + all_of(one["up"])) / 3
    np.testing.assert_allclose(all_of(shift), three, rtol=1e-4, atol=1e-5)
    margin = (one["same"].outputs(0)["margin"] + one["mirror"].outputs(0)["margin"]) / 2
    np.testing.assert_allclose(flip.outputs(0)["margin"], margin, rtol=1e-3, atol=1e-3)
    assert np.abs(all_of(flip) - all_of(one["same"])).max() > 0.01 * np.abs(all_of(flip)).max()


def test_both_views_are_every_combination_and_an_image_and_its_mirror_image_get_the_same(tmp_path):
    plain = digits(tmp_path / "plain", slice(0, 12))
    mirror = changed(plain, tmp_path / "mirror", lambda image: image[:, ::-1])
    six = [
        all_of(made(pool, tmp_path / f"features-{pool.artifact.path.stem}", views=("flip",)))
        for pool in (plain, mirror)
    ]
    np.testing.assert_allclose(six[0], six[1], rtol=1e-4, atol=1e-5)
    pools = [changed(pool, tmp_path / f"c{i}{by}", shifted(by, by * (1 - 2 * i))) if by else pool
             for i, pool in enumerate((plain, mirror)) for by in (0, 1, -1)]  # fmt: skip
    mean = np.mean([all_of(made(pool, tmp_path / f"f{i}")) for i, pool in enumerate(pools)], axis=0)
    both = all_of(made(plain, tmp_path / "both", views=("shift", "flip")))
    np.testing.assert_allclose(both, mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", [("flip",), ("shift", "flip")])
def test_views_as_windows_are_the_same_views(tmp_path, names):
    plain = digits(tmp_path / "plain", slice(0, 12))
    as_windows = viewed(plain, names)
    assert as_windows.content_hash != plain.content_hash and viewed(plain, ()) is plain
    given = made(plain, tmp_path / "given", views=names), made(as_windows, tmp_path / "windows")
    np.testing.assert_allclose(all_of(given[0]), all_of(given[1]), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="leave views out"):
        viewed(token_examples(tmp_path / "text", np.array([4, 5])), names)


def test_pool_and_target_must_have_the_same_views(tmp_path):
    pool = made(digits(tmp_path / "pool", slice(0, 12)), tmp_path / "a", views=("flip",))
    target = made(digits(tmp_path / "target", slice(12, 16)), tmp_path / "b")
    with pytest.raises(InputError, match="views = ''"):
        list(score_blocks(pool, target))


def test_unknown_views_and_views_of_text_are_refused(tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 4))
    for views in (("turn",), ("flip", "flip")):
        with pytest.raises(InputError, match="unknown or there twice"):
            made(pool, tmp_path / "no", views=views)
    with pytest.raises(InputError, match="leave views out"):
        made(token_examples(tmp_path / "text", np.array([4, 5])), tmp_path / "no", views=("flip",))
