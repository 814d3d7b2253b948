//! Codec configuration in words, whatever carried it.

use wire::Cursor;
use wire::codec::{aac, avc, hevc};

use super::CodecInfo;

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

/// Takes over an AudioSpecificConfig.
pub(super) fn audio(info: &mut CodecInfo, config: &[u8]) -> wire::Result<aac::AudioSpecificConfig> {
    let config = aac::AudioSpecificConfig::decode(&mut Cursor::new(config))?;
    let told = config.describe();
    info.profile = Some(told.profile.to_owned());
    info.sample_rate = Some(told.sample_rate);
    info.channels = told.channels;
    Ok(config)
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
