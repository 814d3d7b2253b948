#![allow(clippy::arithmetic_side_effects)]

use super::*;

#[test]
fn an_empty_packet_is_no_ip() {
    let packet = parse(LinkType::RAW, &[], 0);
    assert_eq!(packet.ip, None);
    assert!(packet.error.is_some());
}
