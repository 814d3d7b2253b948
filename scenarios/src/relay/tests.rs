use std::net::SocketAddr;
use std::time::Duration;

use server::config::TapConfig;
use server::tap::Tap;
use server::{Clock, Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::{How, Over, publish, watch_rtsp};
use crate::feed::Feed;
use crate::sample::Clip;

fn here() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn relay(upstream: SocketAddr, net: Net) -> (Relay, watch::Sender<Net>) {
    let (path, net) = watch::channel(net);
    let plan = Plan { upstream, rtsp: false, net, seed: 1, tap: None };
    (Relay::start(plan).await.unwrap(), path)
}

#[tokio::test]
async fn bytes_pass_in_both_directions_and_ends_are_passed_on() {
    let listener = TcpListener::bind(here()).await.unwrap();
    let (relay, _path) = relay(listener.local_addr().unwrap(), Net::default()).await;
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let (mut server, from) = listener.accept().await.unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let echo = async {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        server.write_all(&got).await.unwrap();
        drop(server);
    };
    let ask = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = tokio::join!(echo, ask);
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    assert_eq!(relay.sides(), [(client.local_addr().unwrap(), from)]);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let listener = TcpListener::bind(here()).await.unwrap();
    let (relay, _path) = relay(listener.local_addr().unwrap(), Net::default()).await;
    let client = TcpStream::connect(relay.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // A server that is not there looks so.
    let gone = listener.local_addr().unwrap();
    drop((listener, server));
    let (path, net) = watch::channel(Net::default());
    let relay = Relay::start(Plan { upstream: gone, rtsp: false, net, seed: 1, tap: None }).await.unwrap();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    assert!(client.read(&mut [0; 10]).await.is_err());
    drop(path);
}

#[tokio::test]
async fn a_reset_breaks_every_connection_for_both_ends_and_lets_new_ones_pass() {
    let listener = TcpListener::bind(here()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ((relay, _path), (other, _their_path)) =
        (relay(address, Net::default()).await, relay(address, Net::default()).await);
    let mut clients = Vec::new();
    for relay in [&relay, &relay, &other] {
        let mut client = TcpStream::connect(relay.address()).await.unwrap();
        client.write_all(b"here").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        clients.push((client, server));
    }
    let (mut stays, mut stays_too) = clients.pop().unwrap();
    relay.reset();
    for (mut client, mut server) in clients {
        let at_client = client.read(&mut [0; 10]).await.unwrap_err();
        let at_server = server.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!([at_client.kind(), at_server.kind()], [io::ErrorKind::ConnectionReset; 2]);
    }
    stays.write_all(b"still").await.unwrap();
    stays_too.read_exact(&mut [0; 5]).await.unwrap();
    let mut again = TcpStream::connect(relay.address()).await.unwrap();
    again.write_all(b"again").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test]
async fn a_cut_holds_bytes_back_and_loses_none() {
    let listener = TcpListener::bind(here()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ((relay, path), (other, _path)) =
        (relay(address, Net::default()).await, relay(address, Net::default()).await);
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut witness = TcpStream::connect(other.address()).await.unwrap();
    let (mut witnessed, _) = listener.accept().await.unwrap();
    let mut got = [0; 1];
    client.write_all(b"x").await.unwrap();
    server.read_exact(&mut got).await.unwrap();
    path.send_replace(Net { cut: true, ..Net::default() });
    // The relay has had every chance to pass it when the same path beside it was used so often.
    for round in 0..100 {
        if round == 50 {
            client.write_all(b"y").await.unwrap();
        }
        witness.write_all(b"w").await.unwrap();
        witnessed.read_exact(&mut got).await.unwrap();
    }
    assert_eq!(server.try_read(&mut got).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    path.send_replace(Net { delay: Duration::from_millis(5), ..Net::default() });
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"y");
}

/// A server with the sample on air, for a viewer over UDP behind a relay; what it lost, and the capture.
#[tokio::test]
async fn rtp_comes_by_the_relay_and_what_it_loses_is_missing_in_the_capture_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config { api: None, ..Config::default() };
    config.rtmp.listen = Some(here());
    config.rtsp.listen = Some(here());
    config.rtsp.rtp = 0;
    let server = Server::start(config).await.unwrap();
    let at = |protocol| server.ready().iter().find(|r| r.protocol == protocol).unwrap().address;
    let (rtmp, rtsp) = (at("rtmp"), at("rtsp"));
    let file = directory.path().join("relay.pcapng");
    let tap = Tap::create(&TapConfig { file: file.clone(), snap: 0, size: 0 }, Clock::start()).unwrap();
    let (_path, net) = watch::channel(Net { loss: 0.2, ..Net::default() });
    let plan = Plan { upstream: rtsp, rtsp: true, net, seed: 5, tap: Some(tap.clone()) };
    let relay = Relay::start(plan).await.unwrap();

    let (on_air, mut is_on_air) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let publisher = session::rtmp::ClientConfig::new(
        crate::client::ClientRole::Publish,
        &rtmp.to_string(),
        "live/a",
        "test",
    );
    let feed = Feed::clip(Clip::sample().unwrap());
    let how = How { again: true, account: false, length: None };
    let publisher = tokio::spawn(publish(rtmp, publisher, 1, feed, how, on_air, stopped));
    is_on_air.wait_for(|on| *on).await.unwrap();
    let (count, mut frames) = watch::channel(0);
    let (leave, leaves) = watch::channel(false);
    let address = relay.address();
    let viewer = tokio::spawn(async move {
        watch_rtsp(address, (&format!("rtsp://{address}/live/a"), "test"), Over::Udp, 9, count, leaves).await
    });
    frames.wait_for(|n| *n >= 60).await.unwrap();
    leave.send_replace(true);
    let viewed = viewer.await.unwrap().unwrap();
    stop.send_replace(true);
    publisher.await.unwrap().unwrap();
    drop(relay);
    tap.close();
    server.shutdown().await;

    let packets = viewed.packets.unwrap();
    assert!(packets.lost > 0, "{packets:?}");
    let mut analyzer = analyzer::Analyzer::new(analyzer::Options::default());
    analyzer.file(&file).unwrap();
    let analysis = analyzer.finish();
    let [session] = &analysis.sessions[..] else { panic!("{:#?}", analysis.sessions) };
    assert_eq!(session.server.port, Some(address.port()));
    let lost: u64 = session.tracks.iter().filter_map(|t| t.lost_packets).sum();
    assert!(lost > 0, "{session:#?}");
    let got: u64 = session.tracks.iter().filter_map(|t| t.packets).sum();
    assert!(got >= packets.received && packets.received > 0, "{got} {packets:?}");
}
