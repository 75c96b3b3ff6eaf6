"""How every function of `latentjax.augment` is called."""

from kernel_calls import Sized, call

summed = lambda x: x.reshape(x.shape[0], -1).sum(1)
IMAGE = call("s:H K 3 -> =H K 3")
EXAMPLES = call("*s:B D -> =B D", loss_fn=summed, epsilon=0.1)

KERNELS = {
  **{
    name: IMAGE
    for name in (
      "color_jitter",
      "gaussian_blur",
      "random_affine",
      "random_crop",
      "random_field_augment",
      "random_flip",
      "random_grayscale",
      "random_resized_crop",
      "random_rotation",
      "random_solarize",
      "simclr_view",
    )
  },
  "cutmix": call("s:B H K C, d:B N -> =B H K C, =B N"),
  "cutout": call("s:H K 3 -> =H K 3", size=3),
  "fgsm": EXAMPLES,
  "gaussian_random_field": call("-> 2 H K", shape=Sized(lambda s: (2, s["H"], s["K"])), gamma=2.0),
  "local_color": call("s:H K 3, p:H K, p:H K, p:H K, s:H K -> =H K 3"),
  "local_warp": call("s:H K C, 2 H K, H K, l:H K -> =H K C", limit=1e2),
  "mixup": call("*s:B D, d:B N -> =B D, =B N"),
  "multi_crop": call("s:8 7 C -> =2 8 7 C, =6 4 4 C"),
  "pgd": EXAMPLES,
  "random_squares": call("s:H K C -> =H K C", max_size=3),
  "two_views": call("s:H K C -> =H K C, =H K C", augment_fn=lambda key, image: image),
}

EXCEPTIONS: dict[str, str] = {}
