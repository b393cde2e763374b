//! The devices of the host that a sandbox may be given: a closed list, each of which a profile has to name.
#![forbid(unsafe_code)]

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// The processor's virtualization.
    Kvm,
    /// GPUs, by way of gVisor's own driver for them (nvproxy).
    Nvidia,
}

impl Device {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Kvm, Self::Nvidia];

    /// The word that profiles and people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "/dev/kvm",
            Self::Nvidia => "nvidia",
        }
    }

    /// The one with this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|device| device.name() == word)
    }

    fn bit(self) -> u8 {
        match self {
            Self::Kvm => 1,
            Self::Nvidia => 2,
        }
    }
}

/// Some of them, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Devices(u8);

impl Devices {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// The byte.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Of a byte that has no bit but theirs.
    pub fn from_bits(bits: u8) -> Option<Self> {
        let known: u8 = Device::ALL.into_iter().map(Device::bit).sum();
        (bits & !known == 0).then_some(Self(bits))
    }

    /// Whether this one is among them.
    pub fn contains(self, device: Device) -> bool {
        self.0 & device.bit() != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Device> {
        Device::ALL.into_iter().filter(move |device| self.contains(*device))
    }
}

impl FromIterator<Device> for Devices {
    fn from_iter<I: IntoIterator<Item = Device>>(devices: I) -> Self {
        Self(devices.into_iter().fold(0, |bits, device| bits | device.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_some_devices_or_none_at_all() {
        for bits in 0..=u8::MAX {
            match Devices::from_bits(bits) {
                Some(devices) => {
                    assert_eq!((devices.iter().collect::<Devices>(), devices.bits()), (devices, bits))
                }
                None => assert!(bits > 3, "{bits}"),
            }
        }
        assert_eq!(Devices::from_bits(4), None);
    }

    #[test]
    fn a_device_has_one_word() {
        for device in Device::ALL {
            assert_eq!(Device::named(device.name()), Some(device));
        }
        for word in ["kvm", "/dev/nvidia0", "/dev/mem", "", "/dev/../dev/kvm", "NVIDIA"] {
            assert_eq!(Device::named(word), None, "{word}");
        }
    }
}
