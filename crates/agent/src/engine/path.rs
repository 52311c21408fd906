//! File names in JSON. Names on Unix are bytes, JSON strings are Unicode: `RawPath` carries any path
//! through any text format and back without loss.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path or file name whose text form, that of [`domain::path`], is lossless.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RawPath(PathBuf);

impl RawPath {
    /// The path for use with the file system.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path for use with the file system, owned.
    pub fn into_path_buf(self) -> PathBuf {
        self.0
    }
}

impl From<PathBuf> for RawPath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl From<&Path> for RawPath {
    fn from(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
}

impl From<&OsStr> for RawPath {
    fn from(name: &OsStr) -> Self {
        Self(PathBuf::from(name))
    }
}

impl From<&str> for RawPath {
    fn from(text: &str) -> Self {
        Self(PathBuf::from(OsString::from_vec(domain::path::bytes_of(text))))
    }
}

impl FromStr for RawPath {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl AsRef<Path> for RawPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&domain::path::text_of(self.0.as_os_str().as_bytes()))
    }
}

impl fmt::Debug for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from(text.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_json() {
        let every_byte: Vec<u8> = (1..=255).collect();
        for bytes in [&b"/plain/path"[..], "/ünïcode/日本".as_bytes(), b"a\\xff", b"a\\\\x", b"\\", &every_byte] {
            let path = RawPath::from(OsStr::from_bytes(bytes));
            let json = serde_json::to_string(&path).expect("paths are valid JSON strings");
            let back: RawPath = serde_json::from_str(&json).expect("what we wrote can be read");
            assert_eq!(back, path, "through {json}");
        }
    }

    #[test]
    fn ordinary_paths_look_like_themselves() {
        assert_eq!(RawPath::from(Path::new("/srv/data/é")).to_string(), "/srv/data/é");
        assert_eq!(RawPath::from(OsStr::from_bytes(b"caf\xe9\\")).to_string(), r"caf\xe9\\");
        // A single backslash typed by hand is taken as it is.
        assert_eq!(RawPath::from(r"C:\data").as_path(), Path::new(r"C:\data"));
    }
}
