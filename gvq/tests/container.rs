//! The container: what is written comes back, and nothing else is taken.

#[path = "common/cases.rs"]
mod cases;
mod common;

use cases::{cases, codebook, file, header, words};
use common::{parses_or_fails, repaired_parses_or_fails};
use gristmill_gvq::{CodebookHash, CodebookType, GvqError, GvqFile, HEADER_BYTES, Header, Section, write};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn what_is_written_comes_back() {
    for (name, header) in cases() {
        let bytes = file(&header);
        assert_eq!(bytes.len() as u64, header.file_bytes(), "{name}");
        let parsed = GvqFile::parse(&bytes).unwrap();
        let codebook = codebook(&header);
        let hash = if header.inline { CodebookHash::of(&codebook) } else { header.codebook_hash };
        assert_eq!(*parsed.header(), Header { codebook_hash: hash, ..header.clone() }, "{name}");
        assert_eq!(parsed.codebook(), header.inline.then_some(codebook.as_slice()), "{name}");
        assert!(parsed.words().eq(words(&header)), "{name}");
        assert_eq!(Header::parse(&bytes[..HEADER_BYTES]).as_ref(), Ok(parsed.header()), "{name}");
        parses_or_fails(&bytes).unwrap();
        repaired_parses_or_fails(&bytes).unwrap();
    }
}

/// The bytes that docs/gvq.md describes, written out by hand.
#[test]
fn a_file_by_hand() {
    let header = Header {
        height: 3,
        width: 4,
        channels: 1,
        patch: 4,
        rank: 1,
        iterations: 1,
        mean: true,
        bits: 2,
        codewords: 3,
        codebook_type: CodebookType::F16,
        inline: true,
        codebook_hash: CodebookHash([0; 16]),
    };
    // Indices 2 and 1. 0x3c00 is 1, 0x3800 is 1/2, 0xc000 is -2.
    let halves = [0x3c00u16, 0x3800, 0xc000, 0, 0, 0x3c00, 0, 0, 0x3800, 0x3800, 0x3800, 0x3800];
    let codebook: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let bytes = write(&header, Some(&codebook), &[0b0110]).unwrap();
    let mut expected =
        b"\x89GVQ\r\n\x1a\n\x01\0\x01\x01\x03\0\0\0\x04\0\0\0\x04\x02\x01\0\x01\0\x01\x01\x03\0\0\0".to_vec();
    expected.extend(CodebookHash::of(&codebook).0);
    expected.extend(crc32fast::hash(&expected).to_le_bytes());
    expected.extend(&codebook);
    expected.extend(crc32fast::hash(&codebook).to_le_bytes());
    expected.extend([6, 0, 0, 0]);
    expected.extend(crc32fast::hash(&[6, 0, 0, 0]).to_le_bytes());
    assert_eq!(bytes, expected);
    // The CRC of the ISO standard, and SHA-256 of FIPS 180: published values.
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    assert_eq!(CodebookHash::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
}

#[test]
fn every_byte_flipped_once_is_an_error() {
    for (name, header) in cases() {
        let whole = file(&header);
        let mut bytes = whole.clone();
        for at in 0..bytes.len() {
            // Every bit of the parameters, and of the rest one way of each.
            let flips: &[u8] =
                if at < HEADER_BYTES { &[1, 2, 4, 8, 16, 32, 64, 128, 255] } else { &[1, 255] };
            for flip in flips {
                bytes[at] ^= flip;
                assert!(GvqFile::parse(&bytes).is_err(), "{name}: byte {at} ^ {flip}");
                let _ = repaired_parses_or_fails(&bytes);
                bytes[at] ^= flip;
            }
        }
        assert_eq!(bytes, whole);
    }
}

#[test]
fn every_truncation_and_extension_is_an_error() {
    for (name, header) in cases() {
        let mut bytes = file(&header);
        for length in 0..bytes.len() {
            let error = GvqFile::parse(&bytes[..length]).unwrap_err();
            let expected = if length < 8 {
                GvqError::Signature
            } else {
                let expected = if length < HEADER_BYTES { HEADER_BYTES as u64 } else { header.file_bytes() };
                GvqError::Length { found: length as u64, expected }
            };
            assert_eq!(error, expected, "{name}: {length} bytes");
        }
        bytes.push(0);
        let error = GvqFile::parse(&bytes).unwrap_err();
        assert!(matches!(error, GvqError::Length { .. }), "{name}: {error}");
    }
}

/// Sizes up to the last bit, in files whose checksums fit.
#[test]
fn absurd_sizes_are_errors() {
    let whole = file(&header());
    let places: [(usize, usize); 11] =
        [(10, 1), (11, 1), (12, 4), (16, 4), (20, 1), (21, 1), (22, 2), (24, 2), (26, 1), (27, 1), (28, 4)];
    let values = [0u32, 1, 2, 3, 4, 5, 7, 33, 64, 0x7f, 0xff, 0x7fff, 0xffff, 0x10000, 0x7fff_ffff, u32::MAX];
    for (at, size) in places {
        for value in values {
            for (other, other_size) in places {
                let mut bytes = whole.clone();
                bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
                bytes[other..other + other_size].copy_from_slice(&value.to_le_bytes()[..other_size]);
                let checksum = crc32fast::hash(&bytes[..48]);
                bytes[48..52].copy_from_slice(&checksum.to_le_bytes());
                let _ = parses_or_fails(&bytes);
                let _ = repaired_parses_or_fails(&bytes);
            }
        }
    }
    let largest = Header {
        height: u32::MAX,
        width: u32::MAX,
        patch: 4,
        rank: u16::MAX,
        iterations: u16::MAX,
        ..header()
    };
    assert!(matches!(largest.check(), Err(GvqError::TooManyIndices { found, .. }) if found > 1 << 94));
    // The most that fits: nearly 2^32 indices of 32 bits.
    let most =
        Header { height: u32::MAX - 7, width: 5, channels: 1, patch: 8, bits: 32, iterations: 4, ..header() };
    assert_eq!(most.check(), Ok(()));
    assert_eq!(most.file_bytes(), 52 + 4 * (8 * ((1 << 29) - 1)) + 4);
}

#[test]
fn errors_name_field_and_values() {
    let sealed = |at: usize, value: &[u8]| {
        let mut bytes = file(&header());
        bytes[at..at + value.len()].copy_from_slice(value);
        let checksum = crc32fast::hash(&bytes[..48]);
        bytes[48..52].copy_from_slice(&checksum.to_le_bytes());
        GvqFile::parse(&bytes).unwrap_err().to_string()
    };
    for (error, expected) in [
        (sealed(0, b"\x89PNG"), "not a .gvq file"),
        (sealed(8, &[2]), "version 2 of the .gvq format; expected 1"),
        (sealed(10, &[2]), "`channels` = 2; expected 1 or 3"),
        (sealed(11, &[9]), "`combine` = 9; expected 0 (sum) or 1 (mean)"),
        (sealed(12, &[0, 0]), "`height` = 0; expected at least 1"),
        (sealed(20, &[12]), "`patch` = 12; expected 4, 8, 16 or 32"),
        (sealed(21, &[4]), "`bits` = 4; expected 1 to 32, and enough"),
        (sealed(21, &[33]), "`bits` = 33"),
        (sealed(22, &[0]), "`rank` = 0"),
        (sealed(26, &[2]), "`codebook type` = 2; expected 0 (f32) or 1 (f16)"),
        (sealed(27, &[7]), "`codebook place` = 7"),
        (sealed(28, &[1, 0, 1]), "`codewords` = 65537; expected 1 to 65536"),
        (sealed(15, &[255, 255, 255, 255, 255]), "expected fewer than 2^32"),
        (sealed(28, &[16]), "index 6 is 16; expected less than 16, the number of codewords"),
        (sealed(16, &[37]), "bytes; expected"),
    ] {
        assert!(error.contains(expected), "{error}; expected {expected}");
    }
    let inline = Header { inline: true, ..header() };
    for (at, section) in [(13, Section::Header), (60, Section::Codebook), (350, Section::Indices)] {
        let mut bytes = file(&inline);
        bytes[at] ^= 1;
        let error = GvqFile::parse(&bytes).unwrap_err();
        assert!(matches!(error, GvqError::Checksum { section: found, .. } if found == section), "{error}");
    }
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let header = header();
    let (codebook, words) = (codebook(&header), words(&header));
    let refused = |header: &Header, codebook: &[u8], words: &[u32]| {
        write(header, Some(codebook), words).unwrap_err().to_string()
    };
    let with = |at: usize, value: &[u8]| {
        let mut codebook = codebook.clone();
        codebook[at..at + value.len()].copy_from_slice(value);
        codebook
    };
    let padded = [&words[..words.len() - 1], &[words[words.len() - 1] | 1 << 31]].concat();
    let f32s = Header { codebook_type: CodebookType::F32, patch: 4, ..header.clone() };
    for (error, expected) in [
        (refused(&Header { rank: 0, ..header.clone() }, &codebook, &words), "`rank` = 0"),
        (refused(&header, &codebook[1..], &words), "the codebook has 271 bytes; expected 272"),
        (refused(&header, &codebook, &words[1..]), "words; expected"),
        (refused(&header, &codebook, &padded), "bits behind the last index"),
        (refused(&header, &codebook, &vec![u32::MAX; words.len()]), "index 0 is 31; expected less than 17"),
        (refused(&header, &with(6, &[0, 0x7c]), &words), "not finite at element 3"),
        (refused(&header, &with(6, &[1, 0xfe]), &words), "not finite at element 3"),
        (refused(&f32s, &with(8, &[0, 0, 0x80, 0xff]), &words), "not finite at element 2"),
        (refused(&f32s, &with(8, &[1, 0, 0x80, 0x7f]), &words), "not finite at element 2"),
    ] {
        assert!(error.contains(expected), "{error}; expected {expected}");
    }
    // The largest finite halves and floats are values like any other.
    assert!(write(&header, Some(&with(6, &[0xff, 0x7b])), &words).is_ok());
}

/// What the fuzz target does, for a second: mutations of every kind of file.
#[test]
fn random_mutations_are_errors_or_files() {
    let files: Vec<Vec<u8>> = cases().iter().map(|(_, header)| file(header)).collect();
    let mut random = Pcg64Mcg::seed_from_u64(7);
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        let mut bytes = files[random.random_range(0..files.len())].clone();
        bytes.truncate(bytes.len().min(4096));
        for _ in 0..random.random_range(1..6) {
            // Half of the mutations where the parameters are.
            let end = if random.random_bool(0.5) { HEADER_BYTES } else { bytes.len() };
            let at = random.random_range(0..end.min(bytes.len()).max(1));
            match random.random_range(0..5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
                1 if at < bytes.len() => bytes[at] = random.random(),
                2 => bytes.insert(at.min(bytes.len()), random.random()),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.truncate(random.random_range(0..bytes.len() + 1)),
            }
        }
        let _ = parses_or_fails(&bytes);
        let _ = repaired_parses_or_fails(&bytes);
        done += 1;
    }
    assert!(done > 100, "{done} mutations in a second");
}

/// The fuzzer starts from these. `GVQ_SEEDS=write cargo test -p gristmill-gvq` writes them anew.
#[test]
fn the_seeds_of_the_fuzzer_are_files_of_this_version() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/parse");
    for (name, header) in cases() {
        let path = folder.join(format!("{name}.gvq"));
        if std::env::var_os("GVQ_SEEDS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, file(&header)).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == file(&header), "{}", path.display());
    }
}
