//! Codec configuration in words, whatever carried it.

use wire::Cursor;
use wire::codec::{aac, avc, hevc, mpa};

use super::{CodecInfo, Stats};

/// Takes over an H.264 sequence parameter set, or one of H.265.
pub(super) fn parameter_set(info: &mut CodecInfo, h265: bool, nal: &[u8]) -> wire::Result<()> {
    if h265 {
        let sps = hevc::Sps::from_nal(nal)?;
        info.profile = Some(sps.ptl.profile());
        info.level = Some(sps.ptl.level());
        info.width = Some(sps.width);
        info.height = Some(sps.height);
    } else {
        avc_sps(info, &avc::Sps::from_nal(nal)?);
    }
    Ok(())
}

fn avc_sps(info: &mut CodecInfo, sps: &avc::Sps) {
    info.profile = Some(sps.profile());
    info.level = Some(sps.level());
    info.width = Some(sps.width);
    info.height = Some(sps.height);
    info.nominal_rate = sps.frame_rate();
}

/// Takes over the header of an MPEG audio frame.
pub(super) fn mpeg_audio(info: &mut CodecInfo, header: &mpa::Header) {
    info.codec = Some(if header.layer == 3 { "mp3" } else { "mp2" }.to_owned());
    info.profile = (header.layer == 1).then(|| "layer I".to_owned());
    info.sample_rate = Some(header.sample_rate);
    info.channels = Some(header.channels);
}

/// Takes over an AudioSpecificConfig.
pub(super) fn audio(info: &mut CodecInfo, c: &mut Cursor<'_>) -> wire::Result<aac::AudioSpecificConfig> {
    let config = aac::AudioSpecificConfig::decode(c)?;
    sound(info, &config);
    Ok(config)
}

/// Takes over what an AudioSpecificConfig tells.
pub(super) fn sound(info: &mut CodecInfo, config: &aac::AudioSpecificConfig) {
    let told = config.describe();
    info.profile = Some(told.profile.to_owned());
    info.sample_rate = Some(told.sample_rate);
    info.channels = told.channels;
}

/// Looks for SBR that an AudioSpecificConfig is silent about (ISO 14496-3 §1.6.5.3).
#[derive(Clone, Debug, Default)]
pub(super) struct Hidden(Option<(aac::AudioSpecificConfig, aac::sbr::Probe)>);

impl Hidden {
    /// For the frames of this configuration.
    pub(super) fn of(config: aac::AudioSpecificConfig) -> Self {
        Self(
            Some(config)
                .filter(aac::AudioSpecificConfig::may_hide_sbr)
                .map(|config| (config, Default::default())),
        )
    }

    /// True while frames are wanted.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Looks at a whole raw frame; the configuration and what its frames carry, once enough of them were seen.
    fn frame(&mut self, frame: &[u8]) -> Option<(aac::AudioSpecificConfig, aac::sbr::Hint)> {
        let (_, probe) = self.0.as_mut()?;
        probe.frame(frame);
        let hint = probe.verdict()?;
        self.0.take().map(|(config, _)| (config, hint))
    }
}

impl Stats {
    /// Takes over an AudioSpecificConfig; what it does not tell is looked for in the frames that follow.
    pub(super) fn audio_config(&mut self, c: &mut Cursor<'_>) -> wire::Result<()> {
        self.hidden = Hidden::of(audio(&mut self.info, c)?);
        Ok(())
    }

    /// Corrects what the AudioSpecificConfig says by what a whole raw frame of AAC carries.
    pub(super) fn audio_frame(&mut self, frame: &[u8]) {
        let Some((config, hint)) = self.hidden.frame(frame).filter(|(_, hint)| hint.sbr) else { return };
        let told = config.describe();
        let channels = told.channels.map_or_else(String::new, |n| format!(", {n} channel(s)"));
        self.declare("AudioSpecificConfig", format!("{} {} Hz{channels}", told.profile, told.sample_rate));
        let ps = hint.ps && told.channels == Some(1);
        self.info.profile = Some(if ps { "HE-AACv2" } else { "HE-AAC" }.to_owned());
        self.info.sample_rate = Some(told.sample_rate.saturating_mul(2));
        self.info.channels = if ps { Some(2) } else { told.channels };
    }
}

/// Takes over an AVCDecoderConfigurationRecord or an HEVCDecoderConfigurationRecord.
pub(super) fn record(info: &mut CodecInfo, h265: bool, record: &[u8]) -> wire::Result<()> {
    let mut c = Cursor::new(record);
    if h265 {
        if let Some(sps) = hevc::Config::decode(&mut c)?.first_sps() {
            let sps = sps?;
            info.profile = Some(sps.ptl.profile());
            info.level = Some(sps.ptl.level());
            info.width = Some(sps.width);
            info.height = Some(sps.height);
        }
    } else if let Some(sps) = avc::Config::decode(&mut c)?.first_sps() {
        avc_sps(info, &sps?);
    }
    Ok(())
}
