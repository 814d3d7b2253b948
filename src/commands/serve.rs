//! `streamgauge serve`.

use std::io::ErrorKind;
use std::net::Ipv6Addr;

use reports::text;
use server::config::{Config, HLS_PORT, RTSP_PORT, TapConfig};
use server::fault::{self, Fault};
use server::{Ready, Server, StartError};

use super::rules::near;
use crate::args::{Common, Serve};
use crate::exit::{Code, Ended, Failure};
use crate::{logging, output, progress};

/// Runs the server until it is asked to stop.
pub fn run(args: Serve, common: &Common) -> Ended {
    if args.fault.iter().any(|id| id == "list") {
        output::print(&table(common))?;
        return Ok(Code::Expected);
    }
    let config = config(args)?;
    logging::to_stderr(common);
    let runtime = super::runtime()?;
    let ended = runtime.block_on(serve(config, common));
    if matches!(ended, Ok(Code::Interrupted)) {
        // A disk that hangs would hold us up.
        runtime.shutdown_background();
    }
    ended
}

fn config(args: Serve) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(file) => Config::load(file).map_err(Failure::usage)?,
        None => standard(),
    };
    if let Some(rtmp) = args.rtmp {
        config.rtmp.listen = rtmp.0;
    }
    if let Some(rtsp) = args.rtsp {
        config.rtsp.listen = rtsp.0;
    }
    if let Some(rtp) = args.rtp {
        config.rtsp.rtp = rtp;
    }
    if let Some(hls) = args.hls {
        config.hls.listen = hls.0;
    }
    if let Some(dir) = args.record {
        config.record.dir = Some(dir);
    }
    if let Some(api) = args.api {
        config.api = api.0;
    }
    if let Some(file) = args.tap {
        let snap = args.tap_snap.map_or(Ok(0), u32::try_from);
        let snap = snap.map_err(|_| Failure::usage("--tap-snap: more than a packet can hold"))?;
        config.tap = Some(TapConfig { file, snap, size: args.tap_size.unwrap_or(0) });
    }
    for id in &args.fault {
        let ids = || fault::all().map(|fault| fault.id);
        let unknown = || format!("there is no fault {id}{}\n\n{}", near(id, ids()), crate::faults::list());
        config.faults.push(fault::find(id).ok_or_else(unknown).map_err(Failure::usage)?);
    }
    Ok(config)
}

/// All about each fault.
fn table(common: &Common) -> String {
    let row = |fault: &'static Fault| text::Fault {
        id: fault.id.to_owned(),
        title: fault.title.to_owned(),
        does: fault.does.to_owned(),
        breaks: fault.breaks.iter().map(|requirement| requirement.id.to_owned()).collect(),
    };
    let rows: Vec<_> = fault::all().map(row).collect();
    text::faults(&rows, &output::text_options(common))
}

/// What everybody has to know who looks at a server with faults.
fn warning(faults: &[&'static Fault]) -> String {
    let mut lines = vec!["BROKEN ON PURPOSE: this server breaks the protocols as it was told to.".to_owned()];
    lines.extend(faults.iter().map(|fault| format!("fault {}: {}", fault.id, fault.does)));
    lines.join("\n")
}

/// What is served without a configuration file: everything, on the standard ports.
fn standard() -> Config {
    let mut config = Config::default();
    config.rtsp.listen = Some((Ipv6Addr::UNSPECIFIED, RTSP_PORT).into());
    config.hls.listen = Some((Ipv6Addr::UNSPECIFIED, HLS_PORT).into());
    config
}

async fn serve(config: Config, common: &Common) -> Ended {
    let tap = config.tap.as_ref().map(|t| t.file.display().to_string());
    let record = config.record.dir.as_ref().map(|dir| dir.display().to_string());
    if !config.faults.is_empty() {
        output::say(&warning(&config.faults));
    }
    let server = Server::start(config).await.map_err(not_started)?;
    for ready in server.ready() {
        output::say(&format!("listening {} {}", ready.protocol, ready.address));
    }
    // Who reads that it is ready may end it at once.
    let mut signals = super::Signals::heed()?;
    output::say("ready");
    if progress::stderr_is_terminal() && !common.quiet {
        output::say(&welcome(server.ready(), record.as_deref(), tap.as_deref()));
    }
    signals.asked_to_stop().await;
    tokio::select! {
        _ = server.shutdown() => Ok(Code::Expected),
        // Who asks twice does not want to wait for anybody.
        () = signals.asked_to_stop() => Ok(Code::Interrupted),
    }
}

/// Why it does not start, and which option may help.
fn not_started(error: StartError) -> Failure {
    let hint = match &error {
        StartError::Bind { protocol, address, source } => {
            let option = match *protocol {
                "rtp" | "rtcp" => {
                    "--rtp PORT takes another pair: an even port for RTP, and the next for RTCP".into()
                }
                other => format!("--{other} ADDR takes another address, --{other} off does without"),
            };
            match source.kind() {
                ErrorKind::AddrInUse => format!("another program has it; {option}"),
                ErrorKind::PermissionDenied if address.port() < 1024 => {
                    format!("ports below 1024 need a privilege; {option}")
                }
                _ => option,
            }
        }
        StartError::Record { .. } => "--record DIR takes another directory".to_owned(),
        StartError::Tap { .. } => "--tap FILE takes another file".to_owned(),
    };
    Failure::environment(format!("{error}\n{hint}"))
}

/// Where to publish and watch, ready to paste, on 80 columns.
fn welcome(ready: &[Ready], record: Option<&str>, tap: Option<&str>) -> String {
    let base = |protocol: &str| {
        let socket = ready.iter().find(|ready| ready.protocol == protocol)?;
        let host = match socket.address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            ip if ip.is_ipv6() => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        Some(format!("{host}:{}", socket.address.port()))
    };
    let mut lines = vec![String::new(), "  Publish".to_owned()];
    let (rtmp, rtsp) = (base("rtmp"), base("rtsp"));
    if let Some(base) = &rtmp {
        lines.extend([
            format!("    OBS      Server rtmp://{base}/live   Stream key cam"),
            format!("    ffmpeg   ffmpeg -re -i FILE -c copy -f flv rtmp://{base}/live/cam"),
        ]);
    }
    let of_rtsp = |base| format!("    or       ffmpeg -re -i FILE -c copy -f rtsp rtsp://{base}/live/cam");
    lines.extend(rtsp.as_ref().map(of_rtsp));
    lines.push("  Watch".to_owned());
    let urls =
        |base: &Option<String>, scheme| base.as_ref().map(|base| format!("{scheme}://{base}/live/cam"));
    let (rtmp, rtsp) = (urls(&rtmp, "rtmp"), urls(&rtsp, "rtsp"));
    lines.extend(rtmp.iter().chain(&rtsp).map(|url| format!("    VLC      {url}")));
    lines.extend(rtmp.iter().chain(&rtsp).map(|url| format!("    ffplay   ffplay {url}")));
    lines.extend(base("hls").map(|base| format!("    browser  http://{base}/live/cam/")));
    lines.extend(base("hls").map(|base| format!("    HLS      http://{base}/live/cam/index.m3u8")));
    if let Some(base) = base("api") {
        lines.push(format!("  Clients    http://{base}/api/v1/clients"));
        lines.push(format!("  Metrics    http://{base}/metrics"));
    }
    lines.extend(record.map(|dir| format!("  Recordings {dir}")));
    lines.extend(tap.map(|file| format!("  Packets    {file}")));
    lines.extend(["  Ctrl-C ends the server.".to_owned(), String::new()]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_listen_hears_why_and_what_else_to_do() {
        let told = |protocol, port, kind: ErrorKind| {
            let address = (Ipv6Addr::UNSPECIFIED, port).into();
            not_started(StartError::Bind { protocol, address, source: kind.into() }).message
        };
        assert_eq!(
            told("rtsp", 554, ErrorKind::PermissionDenied),
            "cannot listen for rtsp on [::]:554: permission denied\n\
             ports below 1024 need a privilege; --rtsp ADDR takes another address, --rtsp off does without"
        );
        let lines = told("rtcp", 8001, ErrorKind::PermissionDenied);
        assert!(
            lines.starts_with("cannot listen for rtcp on [::]:8001: ") && !lines.contains("1024"),
            "{lines}"
        );
        assert!(
            lines.ends_with("\n--rtp PORT takes another pair: an even port for RTP, and the next for RTCP")
        );
    }
}
