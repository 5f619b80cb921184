"""The packaged image profiles, with directories that this process may own."""

import os

from clawstead_provisioner.image_profiles import ImageProfile, ImageProfiles, load_profiles


def _owned_by_us(profile: ImageProfile) -> ImageProfile:
    return profile.model_copy(update={"uid": os.getuid()})


PROFILES = ImageProfiles(tuple(map(_owned_by_us, load_profiles().root)))
