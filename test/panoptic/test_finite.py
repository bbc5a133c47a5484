"""A network that answers no numbers is told, whatever is asked of its answer."""

import numpy as np
import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.results import NetworkOutput, Wants


@pytest.mark.parametrize("instances", [True, False])
@pytest.mark.parametrize("name", ["semantic_logits", "center_heatmap", "center_offset"])
def test_one_number_that_is_none_is_enough(name: str, instances: bool) -> None:
    shape = (1, len(CAMVID), 4, 6)
    output = NetworkOutput(
        np.zeros(shape, np.float32), np.zeros((1, 1, 4, 6), np.float32), np.zeros((1, 2, 4, 6), np.float32)
    )
    decoder, wants = PanopticDecoder(CAMVID, PanopticSettings()), Wants(instances=instances)
    decoder.decode(output, 0, (16, 24), 4, wants)
    getattr(output, name)[0, 0, -1, -1] = np.nan
    with pytest.raises(SegPerceptionError):
        decoder.decode(output, 0, (16, 24), 4, wants)
