//! Networks, and every way a host can be an address without looking like one.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address range in CIDR notation (RFC 4632, RFC 4291).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits are fixed.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether a packet to this address may end in this range: the address itself, or the IPv4 address that it carries
    /// (mapped, NAT64, 6to4 and their like). What a `deny` is held against before dialling.
    pub fn reaches(&self, address: IpAddr) -> bool {
        embedded(address).into_iter().any(|one| self.contains(one))
    }

    /// Whether the range holds this address as it stands. An IPv4 range holds no IPv6 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(one)) => mask4(one, self.prefix) == net,
            (IpAddr::V6(net), IpAddr::V6(one)) => mask6(one, self.prefix) == net,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether every address of the other range is in this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

fn mask4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn mask6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Not an address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not an address, or a prefix that is no number or too long.
    #[error("not an address or an address range such as 10.0.0.0/8 or fd00::/8")]
    Malformed,
    /// Bits are set behind the prefix: it is unclear what was meant.
    #[error("bits are set behind the prefix; the range is {0}")]
    HostBits(Network),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or(NetworkError::Malformed)?
            }
            Some(_) => return Err(NetworkError::Malformed),
        };
        let network = Self {
            address: match address {
                IpAddr::V4(address) => IpAddr::V4(mask4(address, prefix)),
                IpAddr::V6(address) => IpAddr::V6(mask6(address, prefix)),
            },
            prefix,
        };
        if network.address == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }
}

/// What a host says about addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    /// A name.
    No,
    /// An address as it is written canonically.
    Plain(IpAddr),
    /// An address in a form that programs read differently, with everything it could mean.
    Odd(Vec<IpAddr>),
    /// Ends in a number but is no address: there is no telling what a resolver makes of it.
    Unreadable,
}

/// Reads a host as an address in every form that some resolver or URL parser accepts: decimal, octal, hexadecimal, fewer
/// than four parts (inet_aton(3)), brackets, zone ids, a trailing dot.
pub(crate) fn literal(host: &str) -> Literal {
    if let Ok(address) = host.parse::<IpAddr>() {
        // The parser takes shortened and upper-case IPv6 too; each is one address only.
        return Literal::Plain(address);
    }
    let bare = host.strip_prefix('[').unwrap_or(host);
    let bare = bare.split(['%', ']']).next().unwrap_or(bare);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Literal::Odd(vec![address]);
    }
    if bare.contains(':') {
        return Literal::Unreadable;
    }
    // WHATWG URL, "ends in a number": then it is an IPv4 address or nothing.
    if !bare.rsplit('.').next().is_some_and(is_number) {
        return Literal::No;
    }
    let mut found: Vec<IpAddr> = [number_c, number_decimal]
        .into_iter()
        .filter_map(|read| inet_aton(bare, read))
        .map(IpAddr::V4)
        .collect();
    found.dedup();
    if found.is_empty() { Literal::Unreadable } else { Literal::Odd(found) }
}

fn is_number(part: &str) -> bool {
    let hex = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// As C reads it: `0x` hexadecimal, leading `0` octal.
fn number_c(part: &str) -> Option<u32> {
    if let Some(digits) = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        return if digits.is_empty() { Some(0) } else { u32::from_str_radix(digits, 16).ok() };
    }
    match part.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
        _ => part.parse().ok(),
    }
}

/// As parsers read it that do not know octal.
fn number_decimal(part: &str) -> Option<u32> {
    part.parse().ok()
}

/// inet_aton(3): one to four parts, the last fills what is left.
fn inet_aton(text: &str, read: fn(&str) -> Option<u32>) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(read).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 32 - 8 * first.len() as u32;
    if u64::from(*last) >= 1 << room {
        return None;
    }
    let high = first.iter().fold(0u64, |bits, part| bits << 8 | u64::from(*part));
    u32::try_from(high << room | u64::from(*last)).ok().map(Ipv4Addr::from_bits)
}

/// The address itself and the IPv4 addresses an IPv6 address carries: mapped, compatible (RFC 4291), NAT64 (RFC 6052,
/// RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214). A packet to the one may end at the other.
pub(crate) fn embedded(address: IpAddr) -> Vec<IpAddr> {
    let mut all = vec![address];
    let IpAddr::V6(address) = address else { return all };
    let bits = address.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    let [a, b, c, ..] = address.segments();
    let mut add = |inner: Ipv4Addr| all.push(IpAddr::V4(inner));
    if bits >> 32 == 0 || bits >> 32 == 0xffff || (a, b) == (0x64, 0xff9b) {
        add(low);
    }
    if a == 0x2002 {
        add(Ipv4Addr::from_bits(u32::from(b) << 16 | u32::from(c)));
    }
    if (a, b) == (0x2001, 0) {
        add(Ipv4Addr::from_bits(!(bits as u32)));
    }
    if bits >> 32 & 0xfcff_ffff == 0x5efe {
        add(low);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn meant(host: &str) -> Vec<String> {
        match literal(host) {
            Literal::Plain(address) => embedded(address),
            Literal::Odd(all) => all.into_iter().flat_map(embedded).collect(),
            Literal::No | Literal::Unreadable => vec![],
        }
        .iter()
        .map(ToString::to_string)
        .collect()
    }

    /// Row N1: every way of writing an address that a resolver might accept.
    #[test]
    fn an_address_in_disguise_is_found() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "0x7F.0.0.0x1",
            "017700000001",
            "::ffff:127.0.0.1",
            "[::ffff:7f00:1]",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::5efe:7f00:1%eth0",
            "2001:0:0:0:0:0:80ff:fffe",
        ] {
            assert!(meant(host).contains(&"127.0.0.1".to_owned()), "{host}: {:?}", literal(host));
        }
    }

    #[test]
    fn a_leading_zero_means_both_readings() {
        assert_eq!(meant("010.0.0.1"), ["8.0.0.1", "10.0.0.1"]);
    }

    #[test]
    fn what_ends_in_a_number_and_is_no_address_is_unreadable() {
        for host in
            ["256.1.1.1", "1.2.3.4.5", "example.1", "4294967296", "0x100000000", "1:2", "a:b", "08.1.1.0x"]
        {
            assert!(matches!(literal(host), Literal::Unreadable | Literal::Odd(_)), "{host}");
        }
        for host in ["example.org", "1.example", "a1", "0xg", "localhost", "-"] {
            assert_eq!(literal(host), Literal::No, "{host}");
        }
    }

    #[test]
    fn ranges_hold_what_the_rfc_says() {
        assert!(network("169.254.0.0/16").contains("169.254.169.254".parse().unwrap()));
        assert!(!network("169.254.0.0/16").contains("169.255.0.1".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("255.255.255.255".parse().unwrap()));
        assert!(network("::/0").contains("ff02::1".parse().unwrap()));
        assert!(network("fd00:ec2::/32").contains("fd00:ec2::254".parse().unwrap()));
        assert!(network("10.0.0.0/8").covers(&network("10.1.0.0/16")));
        assert!(!network("10.1.0.0/16").covers(&network("10.0.0.0/8")));
    }

    #[test]
    fn unclear_ranges_are_refused() {
        assert_eq!("10.0.0.1/8".parse::<Network>(), Err(NetworkError::HostBits(network("10.0.0.0/8"))));
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::/129", "x/8", "010.0.0.1/8"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed), "{text}");
        }
    }
}
