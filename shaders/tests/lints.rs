//! Every rule of the build can fail, names the line and the reason, and lets the nearest harmless text pass.

#[path = "../build/check.rs"]
mod check;
#[path = "../build/lints.rs"]
mod lints;
#[path = "../src/reflect.rs"]
#[allow(dead_code)]
mod reflect;

use check::check;

/// A kernel of one input and one output around these parts.
fn kernel(globals: &str, functions: &str, body: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> source: array<f32>;\n\
         @group(0) @binding(1) var<storage, read_write> result: array<f32>;\n\
         {globals}\n\
         @compute @workgroup_size(8)\n\
         fn main(@builtin(local_invocation_index) local: u32) {{\n\
         {body}\n\
         }}\n\
         {functions}\n"
    )
}

#[track_caller]
fn passes(wgsl: &str) -> u32 {
    check(wgsl).unwrap_or_else(|error| panic!("{error}\n{wgsl}"))
}

/// The error names the line that holds `place` and the reason.
#[track_caller]
fn fails(wgsl: &str, place: &str, reason: &str) {
    let error = check(wgsl).expect_err(wgsl);
    let line = wgsl.lines().position(|line| line.contains(place)).expect("the place is in the text") + 1;
    assert!(error.starts_with(&format!("line {line} `")), "{error}\nexpected line {line}:\n{wgsl}");
    assert!(error.contains(place) && error.contains(reason), "{error}\nexpected `{reason}`");
}

#[track_caller]
fn fails_as_a_whole(wgsl: &str, reason: &str) {
    let error = check(wgsl).expect_err(wgsl);
    assert!(error.contains(reason), "{error}\nexpected `{reason}`");
}

#[test]
fn a_clean_kernel_passes_with_its_workgroup_memory() {
    assert_eq!(passes(&kernel("", "", "result[local] = source[local];")), 0);
    let shared = "var<workgroup> shared_values: array<vec4f, 9>;\nvar<workgroup> total: f32;";
    let body = "shared_values[local].x = source[local];\ntotal = 1.0;\nworkgroupBarrier();\n\
                result[local] = shared_values[7u - local].x * total;";
    assert_eq!(passes(&kernel(shared, "", body)), 9 * 16 + 16);
}

#[test]
fn barriers_stay_in_the_entry_point() {
    let body = "shared_value = 1.0;\nwait(local);\nresult[local] = shared_value;";
    let shared = "var<workgroup> shared_value: f32;";
    for barrier in ["workgroupBarrier();", "storageBarrier();", "_ = workgroupUniformLoad(&shared_value);"] {
        for (open, close) in [
            ("", ""),
            ("if (index < 100u) {", "}"),
            ("if (index > 100u) { } else {", "}"),
            ("for (var i = 0u; i < 2u; i++) {", "}"),
            ("switch (index) { case 3u { } default {", "} }"),
            ("{", "}"),
        ] {
            let function = format!("fn wait(index: u32) {{\n{open}\n{barrier}\n{close}\n}}");
            fails(&kernel(shared, &function, body), barrier, "a barrier outside the entry point");
        }
    }
    let inside = "shared_value = 1.0;\nworkgroupBarrier();\nresult[local] = shared_value;";
    passes(&kernel(shared, "", inside));
}

#[test]
fn local_arrays_are_not_indexed_in_loops() {
    let reason = "local array `sums` indexed by a value in a loop";
    let body = |statement: &str| {
        format!(
            "var sums: array<f32, 4>;\nfor (var i = 0u; i < 4u; i++) {{\n{statement}\n}}\n\
             result[local] = sums[0] + sums[3];"
        )
    };
    for statement in [
        "sums[i] = source[i];",
        "sums[local] += 1.0;",
        "if (local > i) { sums[i] = 2.0; }",
        "result[i] = sums[i];",
        "{ let at = &sums[i]; *at = 1.0; }",
        "for (var j = 0u; j < i; j++) { sums[j] = 1.0; }",
        "loop { sums[i] = 1.0; break; }",
        "switch (local) { case 1u { sums[i] = 1.0; } default { } }",
        "while (source[i] > sums[i]) { break; }",
    ] {
        fails(&kernel("", "", &body(statement)), statement, reason);
    }
    // In functions, of vectors and structures, and through a copy.
    let function = format!("fn work(local: u32) {{\n{}\n}}", body("sums[i] = source[i];"));
    fails(&kernel("", &function, "work(local);"), "sums[i] =", reason);
    let nested = "var rows: array<array<vec4f, 2>, 2>;\nfor (var i = 0u; i < 2u; i++) {\nrows[0][i].x = 1.0;\n}\n\
                  result[local] = rows[0][1].x;";
    fails(&kernel("", "", nested), "rows[0][i].x = 1.0;", "local array `rows`");
    let copied = "var sums: array<f32, 4>;\nfor (var i = 0u; i < 4u; i++) {\nlet copy = sums;\n\
                  result[i] = copy[i];\n}";
    fails(&kernel("", "", copied), "result[i] = copy[i];", "local array `sums`");
    let table = "for (var i = 0u; i < 4u; i++) {\nresult[i] = array(1.0, 2.0, source[0], 4.0)[i];\n}";
    fails(&kernel("", "", table), "array(1.0", "local array");

    // Constant places are registers; a place computed outside loops is read once; other memory is meant to be indexed.
    passes(&kernel("", "", &body("sums[1] = source[i];")));
    passes(&kernel("", "", "var sums: array<f32, 8>;\nsums[local] = 1.0;\nresult[local] = sums[0];"));
    let shared = "var<workgroup> row: array<f32, 8>;";
    passes(&kernel(
        shared,
        "",
        "for (var i = 0u; i < 8u; i++) {\nrow[i] = source[i];\n}\nresult[local] = row[local];",
    ));
}

#[test]
fn infinities_are_refused() {
    let reason = "an infinity or NaN; use a large finite value";
    for value in [
        "bitcast<f32>(0xff800000u)",
        "bitcast<f32>(0x7f800000u)",
        "bitcast<f32>(0x7fc00000u)",
        "bitcast<f32>(0x7f800000i)",
        "bitcast<vec2f>(vec2u(0xff800000u)).x",
        "bitcast<vec2f>(vec2u(0u, 0x7f800000u)).y",
    ] {
        let statement = format!("result[local] = max(source[local], {value});");
        fails(&kernel("", "", &statement), value, reason);
    }
    let function = "fn lowest() -> f32 {\nreturn bitcast<f32>(0xff800000u);\n}";
    fails(&kernel("", function, "result[local] = lowest();"), "bitcast<f32>(0xff800000u)", reason);

    // The largest finite values, and the bits of an infinity as a mask.
    passes(&kernel("", "", "result[local] = bitcast<f32>(0xff7fffffu) + 3.4e38;"));
    passes(&kernel(
        "",
        "",
        "if ((bitcast<u32>(source[local]) & 0x7f800000u) == 0x7f800000u) { result[0] = 1.0; }",
    ));
}

#[test]
fn storage_buffers_are_few() {
    let buffers = |count: u32| -> String {
        let one = |i| format!("@group(0) @binding({i}) var<storage, read> more{i}: array<f32>;\n");
        (2..count).map(one).collect()
    };
    passes(&kernel(&buffers(8), "", "result[local] = source[local];"));
    fails_as_a_whole(
        &kernel(&buffers(9), "", "result[local] = source[local];"),
        "9 storage buffers; WebGPU guarantees 8",
    );
}

#[test]
fn workgroup_memory_is_within_the_guarantee() {
    let shared = |vectors: u32| {
        let globals = format!("var<workgroup> tile: array<vec4f, {vectors}>;");
        kernel(
            &globals,
            "",
            "tile[local] = vec4f(source[local]);\nworkgroupBarrier();\nresult[local] = tile[0].x;",
        )
    };
    assert_eq!(passes(&shared(1024)), 16384);
    fails_as_a_whole(&shared(1025), "16400 bytes of workgroup memory; WebGPU guarantees 16384");
}

#[test]
fn what_naga_refuses_is_told_with_its_place() {
    fails_as_a_whole(&kernel("", "", "result[local] = sauce[local];"), "sauce");
    fails_as_a_whole(&kernel("", "", "source[local] = 1.0;"), "source[local] = 1.0;");
    fails_as_a_whole(&kernel("", "", "result[local] = 1u;"), "result[local] = 1u;");
}

#[test]
fn subgroup_operations_need_no_enable_line() {
    passes(&kernel("", "", "result[local] = subgroupAdd(source[local]);"));
}

/// Metadata comes from a scan of the text; it has to see what naga sees.
#[test]
fn the_text_scan_agrees_with_naga() {
    let plain = kernel("", "", "result[local] = source[local];");
    let hidden = plain.replace(
        "@group(0) @binding(0)",
        "/*\n@group(0) @binding(7) var<uniform> none: f32;\n*/\n@group(0) @binding(0)",
    );
    fails_as_a_whole(&hidden, "bindings [0, 1], the text reads [0, 1, 7]");
    let split = plain.replace("@group(0) @binding(1) var", "@group(0) @binding(1)\nvar");
    fails_as_a_whole(&split, "not one binding on one line");
    let elsewhere = plain.replace("@group(0) @binding(1)", "@binding(1) @group(0)");
    fails_as_a_whole(&elsewhere, "bindings [0, 1], the text reads [0]");
    fails_as_a_whole(&plain.replace("fn main(", "fn other("), "entry point `other`");
    fails_as_a_whole(
        &format!("{plain}\n@compute @workgroup_size(8)\nfn second() {{ }}"),
        "2 entry points, expected one",
    );
    let size = plain.replace("@workgroup_size(8)", "@workgroup_size(SIZE)");
    fails_as_a_whole(&format!("const SIZE = 8u;\n{size}"), "workgroup size `SIZE` is not literal");
}
