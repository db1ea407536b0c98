//! The keys of a port's `match`, and where udev has the value of each. Pure.

keys! {
    /// A key of `match`, in the order in which they are shown.
    MatchKey {
        Vendor = "vendor",
        Product = "product",
        Serial = "serial",
        Interface = "interface",
        ById = "by-id",
        ByPath = "by-path",
        Link = "link",
        Driver = "driver",
        Sysname = "sysname",
    }
}

/// The two directories in which udev keeps stable names of serial ports (`60-serial.rules`).
pub const LINK_DIRECTORIES: [&str; 2] = [BY_ID, BY_PATH];
pub const BY_ID: &str = "/dev/serial/by-id";
pub const BY_PATH: &str = "/dev/serial/by-path";

impl MatchKey {
    /// The udev property that the key is compared with.
    pub fn property(self) -> Option<&'static str> {
        match self {
            Self::Vendor => Some("ID_VENDOR_ID"),
            Self::Product => Some("ID_MODEL_ID"),
            Self::Serial => Some("ID_SERIAL_SHORT"),
            Self::Interface => Some("ID_USB_INTERFACE_NUM"),
            Self::ByPath => Some("ID_PATH"),
            Self::ById | Self::Link | Self::Driver | Self::Sysname => None,
        }
    }

    /// The directory of the links that the key is compared with, by their names in it.
    pub fn link_directory(self) -> Option<&'static str> {
        match self {
            Self::ById => Some(BY_ID),
            Self::ByPath => Some(BY_PATH),
            Self::Vendor
            | Self::Product
            | Self::Serial
            | Self::Interface
            | Self::Link
            | Self::Driver
            | Self::Sysname => None,
        }
    }
}
