"""Imports OpenCV, or explains how to install its missing system libraries."""

from data_prep.common.errors import UserError

try:
    import cv2
except ImportError as error:  # Slim containers lack libGL or libgthread.
    raise UserError(
        f"OpenCV cannot be loaded: {error}.\n"
        "Fix, one of:\n"
        "  apt-get install -y libgl1 libglib2.0-0        (Debian, Ubuntu)\n"
        "  pip uninstall -y opencv-python && pip install --force-reinstall opencv-python-headless"
    ) from error

__all__ = ["cv2"]
