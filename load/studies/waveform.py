"""A resting 12-lead ECG (PS3.3 A.34.3).

Invariant: twelve channels of equal length, in the order of the leads.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import TwelveLeadECGWaveformStorage

from load.studies.kind import Draft, Kind, Order
from load.studies.modules import STUDY_DATE, add_request, code, common, fill, item, items

_SECONDS = 10
_SAMPLE_RATE = 500
_LEADS = (
    ("2:1", "Lead I"),
    ("2:2", "Lead II"),
    ("2:61", "Lead III"),
    ("2:62", "aVR, augmented voltage, right"),
    ("2:63", "aVL, augmented voltage, left"),
    ("2:64", "aVF, augmented voltage, foot"),
    ("2:3", "Lead V1"),
    ("2:4", "Lead V2"),
    ("2:5", "Lead V3"),
    ("2:6", "Lead V4"),
    ("2:7", "Lead V5"),
    ("2:8", "Lead V6"),
)


def draft_waveform(order: Order) -> Draft:
    """Ten seconds of a resting 12-lead ECG, 500 samples a second (PS3.3 A.34.3)."""
    data_set = common(TwelveLeadECGWaveformStorage, "ECG", "Resting ECG")
    add_request(data_set, "ECG")
    fill(
        data_set,
        ContentDate=STUDY_DATE,
        ContentTime="101300.000000",
        AcquisitionDateTime="20260102101300.000000",
        AcquisitionContextSequence=items(),
        WaveformSequence=items(_ecg(order.seed)),
    )
    return Draft(data_set)


def _ecg(seed: int) -> Dataset:
    samples = _SECONDS * _SAMPLE_RATE
    return item(
        WaveformOriginality="ORIGINAL",
        NumberOfWaveformChannels=len(_LEADS),
        NumberOfWaveformSamples=samples,
        SamplingFrequency=str(_SAMPLE_RATE),
        MultiplexGroupLabel="RHYTHM",
        ChannelDefinitionSequence=items(*(_channel(c, m) for c, m in _LEADS)),
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
        WaveformData=_voltages(samples, seed),
    )


def _channel(value: str, meaning: str) -> Dataset:
    return item(
        ChannelSourceSequence=items(code(value, "MDC", meaning)),
        ChannelSensitivity="2.5",
        ChannelSensitivityUnitsSequence=items(code("uV", "UCUM", "microvolt")),
        ChannelSensitivityCorrectionFactor="1",
        ChannelBaseline="0",
        ChannelTimeSkew="0",
        WaveformBitsStored=16,
        FilterLowFrequency="0.05",
        FilterHighFrequency="150",
    )


def _voltages(samples: int, seed: int) -> bytes:
    """A beat of three bumps a second, weighed by lead, with the noise of electrodes."""
    generator = np.random.default_rng(seed)
    phase = (np.arange(samples) % _SAMPLE_RATE) / _SAMPLE_RATE
    beat = np.zeros(samples)
    for centre, width, height in ((0.2, 0.03, 60), (0.36, 0.012, 480), (0.6, 0.05, 120)):
        beat += height * np.exp(-(((phase - centre) / width) ** 2))
    weights = np.linspace(-0.6, 1.0, len(_LEADS))
    channels = beat[:, None] * weights[None, :]
    channels += generator.normal(0, 4, channels.shape)
    return channels.round().astype("<i2").tobytes()


KINDS = (
    Kind(
        "waveform",
        "ECG",
        "12-lead ECG of ten seconds",
        TwelveLeadECGWaveformStorage,
        (1, 1),
        draft_waveform,
    ),
)
