//! A start with 20 plugins, 2 of them bad: when it listens, welcomes and is ready.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    bench::Bench,
    error::{Attempt, Error},
    message::Kind,
    reactor::Reactor,
    scenario::what,
    server::{self, Server, Subject},
};

pub(super) fn run(bench: &mut Bench) {
    bench.interleave(bench.rounds, &[Subject::WorkerDurable], turn);
}

fn turn(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let folder = TempDir::new().attempt("cannot make a folder")?;
    write_plugins(bench, &folder)?;
    let server = Server::host(&bench.programs, folder, bench.cores.shared())?;
    bench.record(what::LISTENING, subject, PLUGINS, milliseconds(&server));
    welcome(&server)?;
    bench.record(what::WELCOME, subject, PLUGINS, milliseconds(&server));
    while !is_ready(server.target.address)? {
        if server.spawned.elapsed() > Duration::from_secs(30) {
            return Err(Error::Late("not ready".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bench.record(what::READY, subject, PLUGINS, milliseconds(&server));
    Ok(())
}

/// Each plugin has a library of its own; one library is text, one is not there.
fn write_plugins(bench: &Bench, folder: &TempDir) -> Result<(), Error> {
    server::write_host(folder.path(), "durable")?;
    for number in 0..PLUGINS {
        let library = folder.path().join(format!("agent-{number}.so"));
        match number {
            0 => fs::write(&library, "this is no library").attempt("cannot write a library")?,
            1 => {}
            _ => fs::copy(&bench.programs.agent, &library).map(drop).attempt("cannot copy the agent")?,
        }
        server::write_plugin(folder.path(), &format!("agent-{number}"), &library, "process")?;
    }
    Ok(())
}

fn welcome(server: &Server) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    reactor.add(&server.target)?;
    let mut welcomed = false;
    while !welcomed {
        reactor.turn(Duration::from_millis(20), |_, _, text| {
            welcomed |= Kind::of(text) == Kind::Welcome;
            Ok(())
        })?;
        if server.spawned.elapsed() > Duration::from_secs(10) {
            return Err(Error::Late("no welcome".to_owned()));
        }
    }
    Ok(())
}

fn is_ready(address: SocketAddr) -> Result<bool, Error> {
    let mut stream = TcpStream::connect(address).attempt("cannot connect")?;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).attempt("cannot ask for readiness")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).attempt("cannot read readiness")?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

fn milliseconds(server: &Server) -> f64 {
    server.spawned.elapsed().as_secs_f64() * 1000.0
}

const PLUGINS: usize = 20;
