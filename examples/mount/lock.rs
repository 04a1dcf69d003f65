//! A lock in Rust: a file in a folder where relockfs is mounted.
//!
//!     rustc --edition 2021 lock.rs
//!     ./lock DIR NAME acquire    wait for the lock, hold it until a line is read
//!     ./lock DIR NAME try        the same, but say "busy" instead of waiting
//!     ./lock DIR NAME look       who has it?
//!
//! To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to
//! end, even by kill -9, is to release it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Waits for its turn.  If a signal handler runs meanwhile, std opens again,
/// which costs the waiter its place in the queue.
fn acquire(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// ErrorKind::AlreadyExists: somebody has it.
fn attempt(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Takes the file over, and so releases the lock at its end.  (Beware of
/// `let _ = acquire(path)`: it drops the file at once; `let _lock` does not.)
fn hold(mut lock: File) -> io::Result<()> {
    lock.write_all(b"from Rust\n")?; // what others read there
    println!("held");
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn look(dir: &Path, path: &Path) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(state) => print!("{state}"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::metadata(dir)?; // fails if it is the folder that is not there
            println!("free");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn run(dir: &Path, path: &Path, action: &str) -> io::Result<()> {
    match action {
        "acquire" => hold(acquire(path)?),
        "try" => match attempt(path) {
            Ok(lock) => hold(lock),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                println!("busy");
                Ok(())
            }
            Err(error) => Err(error),
        },
        "look" => look(dir, path),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "no such action")),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, name, action] = match <[String; 3]>::try_from(arguments) {
        Ok(three) => three,
        Err(_) => {
            eprintln!("usage: lock DIR NAME acquire|try|look");
            return ExitCode::from(2);
        }
    };
    let dir = Path::new(&dir);
    let path = dir.join(name);
    match run(dir, &path, &action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
