//! The command as a script sees it: exit codes, one line on stderr, and no output file unless all went well.

mod common;

use common::{Folder, assert_refused, gristmill, without_adapter};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/sqa_attn_cross.safetensors");

#[test]
fn runs_a_golden_file_on_the_gpu_and_by_the_twin() {
    let folder = Folder::new("golden");
    for extra in [&[][..], &["--twin"], &["--dtype", "f16"], &["--variant", "portable"]] {
        let output = folder.path("out.safetensors");
        let args = [&["run", "attention", "--input", GOLDEN, "--output", &output][..], extra].concat();
        let result = gristmill(&args);
        assert!(result.status.success(), "{extra:?}: {}", String::from_utf8_lossy(&result.stderr));
        let bytes = std::fs::read(&output).unwrap();
        for word in [
            "\"out\"",
            "\"lse\"",
            "\"kernel\":\"attention\"",
            "\"milliseconds\"",
            "\"variant\"",
            "\"version\"",
        ] {
            assert!(
                bytes.windows(word.len()).any(|window| window == word.as_bytes()),
                "{extra:?}: no {word}"
            );
        }
        std::fs::remove_file(&output).unwrap();
    }
}

#[test]
fn lists_every_kernel_with_its_contract() {
    let result = gristmill(&["run", "--list"]);
    let text = String::from_utf8_lossy(&result.stdout).into_owned();
    for word in ["attention:", "flash_lla:", "sqa_layer:", "key_bias", "q_offset", "query_heads", "T - Tq"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn info_says_which_build_runs_and_why() {
    let text = String::from_utf8_lossy(&gristmill(&["info"]).stdout).into_owned();
    assert!(text.contains("attention") && text.contains("subgroups") && text.contains("MiB"), "{text}");
}

#[test]
fn refuses_bad_tensors() {
    let folder = Folder::new("tensors");
    let output = folder.path("out.safetensors");
    let run = |input: &str| gristmill(&["run", "attention", "--input", input, "--output", &output]);

    let dims = folder.write(
        "dims.safetensors",
        &[("q", &[1, 8, 2, 64], 1.0), ("k", &[1, 8, 2, 48], 1.0), ("v", &[1, 8, 2, 64], 1.0)],
    );
    assert_refused(&run(&dims), &output, &["attention", "`k`", "48", "64"]);

    let heads = folder.write(
        "heads.safetensors",
        &[("q", &[1, 8, 3, 16], 1.0), ("k", &[1, 8, 2, 16], 1.0), ("v", &[1, 8, 2, 16], 1.0)],
    );
    assert_refused(&run(&heads), &output, &["`q`", "3 heads", "multiple of the 2 heads"]);

    let empty = folder.write(
        "empty.safetensors",
        &[("q", &[1, 0, 2, 16], 1.0), ("k", &[1, 8, 2, 16], 1.0), ("v", &[1, 8, 2, 16], 1.0)],
    );
    assert_refused(&run(&empty), &output, &["`q`", "[1, 0, 2, 16]"]);

    let nan = folder.write(
        "nan.safetensors",
        &[("q", &[1, 8, 2, 16], 1.0), ("k", &[1, 8, 2, 16], f32::NAN), ("v", &[1, 8, 2, 16], 1.0)],
    );
    assert_refused(&run(&nan), &output, &["`k`", "not finite", "index 0"]);

    // 16 MiB of queries whose output of 4 GiB no Vulkan driver can bind.
    let large = folder.write(
        "large.safetensors",
        &[("q", &[1, 1 << 22, 1, 1], 1.0), ("k", &[1, 1, 1, 1], 1.0), ("v", &[1, 1, 1, 256], 1.0)],
    );
    assert_refused(
        &run(&large),
        &output,
        &["attention out", "maxStorageBufferBindingSize", "split the batch"],
    );

    let missing = folder.write("missing.safetensors", &[("q", &[1, 8, 2, 16], 1.0)]);
    assert_refused(&run(&missing), &output, &["`k`", "missing"]);

    let whole = std::fs::read(GOLDEN).unwrap();
    let cut = folder.path("cut.safetensors");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert_refused(&run(&cut), &output, &["safetensors"]);
    assert_refused(&run(&folder.path("nowhere.safetensors")), &output, &["--input", "nowhere.safetensors"]);
}

#[test]
fn refuses_bad_settings() {
    let folder = Folder::new("settings");
    let output = folder.path("out.safetensors");
    let run = |kernel: &str, extra: &[&str]| {
        gristmill(&[&["run", kernel, "--input", GOLDEN, "--output", &output][..], extra].concat())
    };
    assert_refused(&run("attention", &["--set", "widnow=3"]), &output, &["`widnow`", "causal", "window"]);
    assert_refused(&run("attention", &["--set", "causal=2"]), &output, &["`causal` = 2", "true"]);
    assert_refused(&run("attention", &["--set", "causal"]), &output, &["key=value"]);
    assert_refused(
        &run("atention", &[]),
        &output,
        &[
            "`atention`",
            "atd, attention, cluster_merge, cluster_regenerate, clustvit, flash_lla",
            "video_nsa, vq_nearest",
        ],
    );
    assert_refused(&run("attention", &["--adapter", "no such"]), &output, &["no GPU adapter", "no such"]);
    assert_refused(&run("attention", &["--variant", "fast"]), &output, &["--variant", "`fast`", "portable"]);
    assert_refused(&run("attention", &["--dtype", "f64"]), &output, &["--dtype", "`f64`", "f32 or f16"]);
    assert_refused(&run("attention", &["--sett", "causal=1"]), &output, &["'--sett'", "'--set'"]);
    assert_refused(&gristmill(&["run", "attention"]), &output, &["--input <FILE>", "--output <FILE>"]);
    assert_refused(&gristmill(&["bench", "linear", "--samples", "0"]), &output, &["--samples", "0", "1"]);
}

#[test]
fn says_what_to_do_without_any_adapter() {
    let folder = Folder::new("adapter");
    let output = folder.path("out.safetensors");
    let words = ["no GPU adapter", "mesa-vulkan-drivers"];
    let run = without_adapter(&["run", "attention", "--input", GOLDEN, "--output", &output]);
    assert_refused(&run, &output, &words);
    assert_refused(&without_adapter(&["demo", "--output", &output]), &output, &words);
    for command in ["info", "bench", "check"] {
        assert_refused(&without_adapter(&[command]), &output, &words);
    }
}

#[test]
fn bench_writes_records_and_a_plot() {
    let folder = Folder::new("bench");
    let (json, plot) = (folder.path("records.json"), folder.path("plot.png"));
    let result = gristmill(&[
        "bench",
        "linear",
        "--samples",
        "1",
        "--set",
        "rows=32",
        "--set",
        "inputs=64",
        "--set",
        "outputs=64",
        "--json",
        &json,
        "--plot",
        &plot,
    ]);
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    let records: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let record = &records[0];
    for key in [
        "kernel",
        "variant",
        "dtype",
        "rows",
        "ms",
        "gflops",
        "gbps",
        "peak_gflops",
        "peak_gbps",
        "peak_share",
    ] {
        assert!(!record[key].is_null(), "{key}: {record}");
    }
    assert!(record["gflops"].as_f64().unwrap() > 0.0);
    assert!(std::fs::read(&plot).unwrap().starts_with(b"\x89PNG"));
    let error = gristmill(&["bench", "linear", "--set", "row=3"]);
    assert_refused(&error, &folder.path("none"), &["row", "rows, inputs, outputs, dtype"]);
}

const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/coffee.png");

#[test]
fn denoises_a_picture_by_either_method() {
    let folder = Folder::new("denoise");
    // A small picture keeps the test short.
    let small = folder.path("small.png");
    image::open(PHOTO).unwrap().crop_imm(250, 120, 70, 53).save(&small).unwrap();
    for (extra, words) in [
        (&["--add-noise", "25"][..], &["70 x 53", "noise 25.0 of 255, lla", "PSNR 20.", "dB ->"][..]),
        (&["--add-noise", "25", "--method", "softmax"], &["noise 25.0 of 255, softmax"]),
        (&["--sigma", "5", "--clean", &small], &["noise 5.0 of 255", "PSNR inf"]),
        (&[], &["of 255 by its own estimate, lla"]),
    ] {
        let output = folder.path("out.png");
        let result = gristmill(&[&["denoise", &small, &output][..], extra].concat());
        let text = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(result.status.success(), "{extra:?}: {}", String::from_utf8_lossy(&result.stderr));
        assert!(words.iter().all(|word| text.contains(word)), "{extra:?}: {text}");
        let picture = image::open(&output).unwrap();
        assert_eq!((picture.width(), picture.height()), (70, 53));
        std::fs::remove_file(&output).unwrap();
    }
}

#[test]
fn refuses_to_denoise_what_is_no_picture() {
    let folder = Folder::new("no-denoise");
    let output = folder.path("out.png");
    let run = |args: &[&str]| gristmill(&[&["denoise"][..], args].concat());
    assert_refused(&run(&[GOLDEN, &output]), &output, &["sqa_attn_cross", "not a PNG or JPEG"]);
    assert_refused(&run(&["nowhere.png", &output]), &output, &["nowhere.png"]);
    let thin = folder.path("thin.png");
    image::open(PHOTO).unwrap().crop_imm(0, 0, 90, 4).save(&thin).unwrap();
    assert_refused(&run(&[&thin, &output]), &output, &["thin.png", "4 x 90 pixels", "5 x 5"]);
    for (args, words) in [
        (&["--method", "median"][..], &["--method", "`median`", "lla or softmax"][..]),
        (&["--sigma", "0"], &["--sigma 0", "above 0"]),
        (&["--sigma", "nan"], &["--sigma NaN", "above 0"]),
        (&["--add-noise", "300"], &["--add-noise 300", "255"]),
        (&["--clean", &thin], &["PSNR", "4 x 90"]),
    ] {
        assert_refused(&run(&[&[PHOTO, &output][..], args].concat()), &output, words);
    }
    let jpeg = folder.path("out.jpg");
    assert_refused(&run(&[PHOTO, &jpeg]), &jpeg, &["out.jpg", ".png"]);
    let nowhere = folder.path("no/out.png");
    assert_refused(&run(&[PHOTO, &nowhere]), &nowhere, &["no/out.png", "no such folder"]);
    assert_refused(&without_adapter(&["denoise", PHOTO, &output]), &output, &["no GPU adapter"]);
}
