//! Finds out, after a worker's death, by which way it came there: unwinds the copy of its stack.
//!
//! By the tables in the libraries themselves, so nothing of the dead worker is run, and a stack that lies costs no more
//! than a wrong backtrace.

use std::{
    fs::File,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use agent_host_core::{
    crash::{FRAMES, Frame},
    sanitise,
};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
use object::{Object, ObjectSection, ReadCache};

use super::{area::Remains, known::Known, symbols};

/// Largest library that is opened for its tables.
const LARGEST: u64 = 1 << 30;
/// Largest section of tables that is read.
const LARGEST_TABLE: u64 = 64 << 20;
/// Where the system's libraries are; what a worker says it loaded from elsewhere is not opened.
const SYSTEM: [&str; 6] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store"];

/// What a backtrace is made from, beside what the worker tells.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The library that was loaded.
    pub(crate) library: OwnedFd,
    /// SHA-256 of it.
    pub(crate) digest: String,
    /// What it is called.
    pub(crate) name: String,
    /// The worker's program.
    pub(crate) program: PathBuf,
}

/// An address in a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which library of the list; `None`: none that is known.
    module: Option<usize>,
    /// Within it.
    pub(super) offset: u64,
    /// To be looked up: a return address belongs to the call before it.
    pub(super) lookup: u64,
}

/// The frames, innermost first. May cost some hundred milliseconds of a core where the crash is not known yet.
pub(super) fn find_out(remains: &Remains, scene: &Scene, known: &Known) -> Vec<Frame> {
    let places = unwind(remains, scene);
    let key = (scene.digest.clone(), places);
    if let Some(frames) = known.recall(&key) {
        return frames;
    }
    let library = remains.modules.iter().position(|module| is_library(&module.path));
    let within = |place: &Place| place.module.is_some() && place.module == library;
    let mut wanted = key.1.iter().filter(|place| within(place)).peekable();
    let names = match wanted.peek() {
        Some(_) => clone(&scene.library).map(|file| symbols::find(&file, wanted)).unwrap_or_default(),
        None => Default::default(),
    };
    let mut frames = Vec::new();
    for place in &key.1 {
        let path = place.module.and_then(|at| remains.modules.get(at)).map(|module| module.path.as_str());
        let module = module_name(path, scene);
        let plain =
            || Frame { module: module.clone(), offset: place.offset, symbol: None, file: None, line: None };
        match names.get(&place.lookup).filter(|_| within(place)) {
            // Functions that the compiler put into each other are a frame each.
            Some(inlined) => frames.extend(inlined.iter().map(|name| Frame {
                symbol: name.function.clone(),
                file: name.file.clone(),
                line: name.line,
                ..plain()
            })),
            None => frames.push(plain()),
        }
    }
    frames.truncate(FRAMES);
    known.remember(key, &frames);
    frames
}

fn module_name(path: Option<&str>, scene: &Scene) -> String {
    match path {
        None => String::new(),
        Some("") => "agent-host worker".to_owned(),
        Some(path) if is_library(path) => scene.name.clone(),
        Some(path) => sanitise::line(path.rsplit('/').next().unwrap_or_default(), 128),
    }
}

/// A worker loads the library by the number of a descriptor.
fn is_library(path: &str) -> bool {
    path.starts_with("/proc/self/fd/")
}

#[cfg(target_arch = "x86_64")]
use framehop::x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64 as Registers, UnwinderX86_64 as Machine};

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{CacheAarch64 as Cache, UnwindRegsAarch64 as Registers, UnwinderAarch64 as Machine};

fn unwind(remains: &Remains, scene: &Scene) -> Vec<Place> {
    let [mut counter, mut pointer, frame, link] = remains.registers;
    let mut places = Vec::new();
    if !remains.is_code(counter) {
        // A call of what is no function: nothing ran there, so the way goes on at the caller.
        places.push(Place { module: None, offset: counter, lookup: counter });
        let caller = if cfg!(target_arch = "x86_64") { remains.word(pointer) } else { Some(link) };
        let Some(caller) = caller.filter(|address| remains.is_code(*address)) else { return places };
        // The call itself, as its return address may lie behind the function.
        counter = caller - 1;
        if cfg!(target_arch = "x86_64") {
            pointer = pointer.wrapping_add(8);
        }
    }
    #[cfg(target_arch = "x86_64")]
    let (registers, _) = (Registers::new(counter, pointer, frame), link);
    // The upper bits of a return address may sign it.
    #[cfg(target_arch = "aarch64")]
    let registers = {
        let mask = framehop::aarch64::PtrAuthMask::from_max_known_address(1 << 47);
        Registers::new_with_ptr_auth_mask(mask, link, pointer, frame)
    };
    let mut machine = Machine::<Vec<u8>>::new();
    for module in &remains.modules {
        if let Some(module) = tables(module, scene) {
            machine.add_module(module);
        }
    }
    let mut cache = Cache::<_>::new();
    let mut read = |address: u64| remains.word(address).ok_or(());
    let mut frames = machine.iter_frames(counter, registers, &mut cache, &mut read);
    while places.len() < FRAMES
        && let Ok(Some(frame)) = frames.next()
    {
        places.push(place(remains, frame));
    }
    places
}

fn place(remains: &Remains, frame: FrameAddress) -> Place {
    let (address, lookup) = (frame.address(), frame.address_for_lookup());
    let holds = |span: [u64; 2]| (span[0]..span[1]).contains(&lookup);
    match remains.modules.iter().position(|module| holds(module.span)) {
        Some(at) => {
            let base = remains.modules.get(at).map_or(0, |module| module.base);
            Place { module: Some(at), offset: address.wrapping_sub(base), lookup: lookup.wrapping_sub(base) }
        }
        None => Place { module: None, offset: address, lookup },
    }
}

impl Remains {
    /// Whether an address lies in a library that is known.
    fn is_code(&self, address: u64) -> bool {
        self.modules.iter().any(|module| (module.span[0]..module.span[1]).contains(&address))
    }

    /// Eight bytes of the stack.
    fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.stack.0)?).ok()?;
        self.stack.1.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
    }
}

/// The tables of a library by which its frames are unwound.
fn tables(module: &super::LoadedModule, scene: &Scene) -> Option<Module<Vec<u8>>> {
    let file = match module.path.as_str() {
        "" => File::open(&scene.program).ok()?,
        path if is_library(path) => clone(&scene.library)?,
        path => system_library(Path::new(path))?,
    };
    let cache = ReadCache::new(file);
    let object = object::File::parse(&cache).ok()?;
    let span = |section: &object::Section<'_, '_, _>| {
        Some(section.address()..section.address().checked_add(section.size())?)
    };
    let section = |name: &str| {
        let section = object.section_by_name(name).filter(|section| section.size() <= LARGEST_TABLE)?;
        Some((span(&section)?, section.data().ok()?.to_vec()))
    };
    let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
    let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
    let info = ExplicitModuleSectionInfo {
        base_svma: 0,
        // Where the code is, and not the code: by these tables nobody reads it, and it is most of a library.
        text_svma: object.section_by_name(".text").as_ref().and_then(span),
        eh_frame_svma,
        eh_frame,
        eh_frame_hdr_svma,
        eh_frame_hdr,
        ..Default::default()
    };
    Some(Module::new(module.path.clone(), module.span[0]..module.span[1], module.base, info))
}

fn clone(library: &OwnedFd) -> Option<File> {
    library.try_clone().ok().map(File::from)
}

/// A library of the system's. The path was told by the worker: nothing else is opened, and nothing that could block.
fn system_library(path: &Path) -> Option<File> {
    let path = path.canonicalize().ok()?;
    if !SYSTEM.iter().any(|folder| path.starts_with(folder)) {
        return None;
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.uid() == 0 && metadata.len() <= LARGEST).then_some(file)
}
