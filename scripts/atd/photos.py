"""Photos that come with Python packages, bicubic resampling as in MATLAB's `imresize`, and PSNR on the Y channel.

Nothing is downloaded: the files are read out of the installed packages.
"""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

SKIMAGE, SKLEARN, MATPLOTLIB = "skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data/sample_data"
# Photos to train on, with the sizes at which they are used: JPEG files are sharper and cleaner when reduced.
TRAINING = {
    f"{SKIMAGE}/camera.png": (1,),  # grey, CC0
    f"{SKIMAGE}/brick.png": (1,),  # grey, CC0
    f"{SKIMAGE}/grass.png": (1,),  # grey, CC0
    f"{SKIMAGE}/gravel.png": (1,),  # grey, CC0
    f"{SKIMAGE}/coins.png": (1,),  # grey, no known copyright restrictions
    f"{SKIMAGE}/text.png": (1,),  # grey, public domain
    f"{SKIMAGE}/ihc.png": (1, 0.6),  # no known copyright restrictions
    f"{SKIMAGE}/retina.jpg": (0.5,),  # CC0
    f"{SKIMAGE}/rocket.jpg": (1, 0.6),  # public domain
    f"{SKIMAGE}/hubble_deep_field.jpg": (0.6,),  # public domain
    f"{SKLEARN}/china.jpg": (1, 0.6),  # CC BY 2.0, danielbuechele
    f"{SKLEARN}/flower.jpg": (1, 0.6),  # CC BY 2.0, vultilion
    f"{MATPLOTLIB}/grace_hopper.jpg": (1, 0.6),  # public domain
}
HELD_OUT = {name: f"{SKIMAGE}/{name}.png" for name in ("astronaut", "chelsea", "coffee")}  # never trained on


def photo(path):
    """uint8 [H, W, 3] of a file inside an installed package."""
    package, rest = path.split("/", 1)
    root = Path(importlib.util.find_spec(package).origin).parent
    return np.asarray(Image.open(root / rest).convert("RGB"))


def cubic(x):
    """Keys' kernel, a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def weights(size, new, scale):
    """[new, size]: the kernel is widened when `scale` < 1 (antialiasing); beyond the edge the picture is mirrored."""
    stretch = min(scale, 1.0)
    centre = (np.arange(new) + 0.5) / scale - 0.5
    reach = int(np.ceil(2 / stretch)) + 1
    taps = np.floor(centre)[:, None] + np.arange(-reach, reach + 1)
    value = cubic((centre[:, None] - taps) * stretch)
    value /= value.sum(1, keepdims=True)
    taps = np.abs(taps + 0.5).astype(int) % (2 * size)  # -1 -> 0, and below `size` -> mirrored
    taps = np.where(taps < size, taps, 2 * size - 1 - taps)
    matrix = np.zeros((new, size))
    np.add.at(matrix, (np.arange(new)[:, None], taps), value)
    return matrix


def resize(image, scale):
    """Bicubic, antialiased, rounded to uint8: uint8 [H, W, 3] -> [ceil(scale H), ceil(scale W), 3]."""
    height, width, _ = image.shape
    rows = weights(height, int(np.ceil(height * scale)), scale)
    columns = weights(width, int(np.ceil(width * scale)), scale)
    result = np.einsum("yh,hwc,xw->yxc", rows, image.astype(float), columns, optimize=True)
    return np.clip(np.floor(result + 0.5), 0, 255).astype(np.uint8)


def pair(image, scale):
    """(low, high): the picture cropped to a multiple of `scale`, and its bicubic reduction."""
    height, width = (side // scale * scale for side in image.shape[:2])
    high = image[:height, :width]
    return resize(high, 1 / scale), high


def psnr_y(a, b, shave):
    """PSNR in dB of the Y channel of BT.601 (studio swing) of two uint8 pictures, without `shave` pixels at each edge."""
    difference = (a.astype(float) - b) @ np.array([65.481, 128.553, 24.966]) / 255
    return 10 * np.log10(255**2 / np.mean(difference[shave:-shave, shave:-shave] ** 2))
