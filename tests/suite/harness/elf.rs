//! Mutilates a sound library: each way in which a file may be no plugin.

use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSection as _};

use super::artifacts;

/// The bytes of a sound plugin, and where its parts lie.
pub(crate) struct Library {
    pub(crate) bytes: Vec<u8>,
    descriptor: usize,
    section_name: usize,
}

/// Where an ELF header says for which machine the file is.
const MACHINE: usize = 18;
/// Where an ELF header says whether the file is for 32 or 64 bits.
const CLASS: usize = 4;
/// Where an ELF header says which end of a number comes first.
const ENDIAN: usize = 5;
/// Where an ELF header says whether it is a program or a library.
const KIND: usize = 16;

impl Library {
    /// The example plugin's.
    pub(crate) fn echo() -> Self {
        let bytes = std::fs::read(artifacts::echo()).expect("the example is built");
        let file = object::File::parse(&*bytes).expect("the example is an object file");
        let section = file.section_by_name(".agent_plugin").expect("the example has a descriptor");
        let (start, _) = section.file_range().expect("a descriptor lies in the file");
        let descriptor = usize::try_from(start).expect("a file fits memory");
        // The last such text is the one in the table of section names: descriptors do not name themselves.
        let name = b".agent_plugin\0";
        let section_name = bytes.windows(name.len()).rposition(|w| w == name).expect("sections are named");
        Self { bytes, descriptor, section_name }
    }

    /// The file, cut to its first `length` bytes.
    pub(crate) fn cut(&self, length: usize) -> Vec<u8> {
        self.bytes[..length].to_vec()
    }

    /// For a processor that no host runs on.
    pub(crate) fn other_machine(&self) -> Vec<u8> {
        self.changed(|bytes| bytes[MACHINE..MACHINE + 2].copy_from_slice(&0x00f7_u16.to_le_bytes()))
    }

    /// For 32 bits.
    pub(crate) fn other_class(&self) -> Vec<u8> {
        self.changed(|bytes| bytes[CLASS] = 1)
    }

    /// With another magic in the descriptor.
    pub(crate) fn wrong_magic(&self) -> Vec<u8> {
        self.changed(|bytes| bytes[self.descriptor] ^= 0xff)
    }

    /// Built for that major version of the ABI.
    pub(crate) fn with_abi(&self, major: u16) -> Vec<u8> {
        self.changed(|bytes| {
            bytes[self.descriptor + 8..self.descriptor + 10].copy_from_slice(&major.to_le_bytes());
        })
    }

    /// Without a descriptor: its section has another name.
    pub(crate) fn without_descriptor(&self) -> Vec<u8> {
        self.changed(|bytes| bytes[self.section_name + 1] = b'X')
    }

    /// For a processor that reads numbers the other way round.
    pub(crate) fn other_endian(&self) -> Vec<u8> {
        self.changed(|bytes| bytes[ENDIAN] = 2)
    }

    /// A program that wants a fixed place in memory, no library.
    pub(crate) fn executable(&self) -> Vec<u8> {
        self.changed(|bytes| bytes[KIND..KIND + 2].copy_from_slice(&2_u16.to_le_bytes()))
    }

    /// The descriptor's own bytes.
    pub(crate) fn descriptor(&self) -> Vec<u8> {
        let file = object::File::parse(&*self.bytes).expect("the example is an object file");
        let section = file.section_by_name(".agent_plugin").expect("the example has a descriptor");
        section.data().expect("a descriptor lies in the file").to_vec()
    }

    /// With a descriptor of nothing but this byte.
    pub(crate) fn descriptor_filled(&self, with: u8) -> Vec<u8> {
        let length = self.descriptor().len();
        self.changed(|bytes| bytes[self.descriptor..self.descriptor + length].fill(with))
    }

    /// What the loader looks up has another name.
    pub(crate) fn without_root_symbol(&self) -> Vec<u8> {
        self.renamed(
            b"_1as_0lib_1header_0root_bmodule_bloader\0",
            b"X1as_0lib_1header_0root_bmodule_bloader\0",
        )
    }

    /// It wants a library that no machine has.
    pub(crate) fn needing_a_missing_library(&self) -> Vec<u8> {
        self.renamed(b"libgcc_s.so.1\0", b"libnever.so.9\0")
    }

    /// It wants a C library that is not out yet.
    pub(crate) fn newer_glibc(&self) -> Vec<u8> {
        self.renamed(b"GLIBC_2.34\0", b"GLIBC_9.99\0")
    }

    /// Every such text in the file replaced by another of its length.
    fn renamed(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len(), "nothing may move");
        let places: Vec<usize> =
            (0..self.bytes.len() - from.len()).filter(|at| self.bytes[*at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "the example has no {:?}", String::from_utf8_lossy(from));
        self.changed(|bytes| places.iter().for_each(|at| bytes[*at..*at + to.len()].copy_from_slice(to)))
    }

    fn changed(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        bytes
    }
}

/// Writes a library as others may read it and nobody but its owner write it.
pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("the test's folder can be written");
    mode(&path, 0o644);
    path
}

/// Sets a file's permissions, whatever the umask.
pub(crate) fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the test's own file");
}
