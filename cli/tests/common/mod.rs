//! What the tests of the command share.
#![allow(dead_code)]

use gristmill::run::Outputs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for each test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gristmill-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, file: &str) -> String {
        self.0.join(file).to_string_lossy().into_owned()
    }

    /// A safetensors file of f32 tensors.
    pub fn write(&self, file: &str, tensors: &[(&str, &[usize], f32)]) -> String {
        let mut outputs = Outputs::default();
        for (name, shape, value) in tensors {
            outputs.float(name, shape, &vec![*value; shape.iter().product()]);
        }
        let path = self.path(file);
        std::fs::write(&path, outputs.to_safetensors([]).unwrap()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn gristmill(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gristmill")).args(args).output().unwrap()
}

/// The command on a machine without any Vulkan driver.
pub fn without_adapter(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gristmill"))
        .args(args)
        .env("VK_DRIVER_FILES", "/nonexistent/icd.json")
        .env("VK_ICD_FILENAMES", "/nonexistent/icd.json")
        .output()
        .unwrap()
}

/// Fails with code 2, says one line that holds every word, and leaves no output file.
#[track_caller]
pub fn assert_refused(result: &Output, output: &str, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
    }
    assert!(!Path::new(output).exists(), "{output} was written");
}
