//! What users get wrong: every case ends with a clear message and the right exit code.

use crate::binary::{digits_model, run, run_with_stdin, write};
use crate::local::zero_tensor;
use crate::onnx;
use lattice_inference::{Tensor, npy};
use std::{fs, net::TcpListener, process::Command};

#[test]
fn usage_errors_end_with_2() {
    for args in [
        &["nonsense"] as &[&str],
        &[],
        &["run"],
        &["run", "0x12"],
        &["send", "0x12"],
        &["send", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "--value", "1 btc"],
        &["balance"],
        &["block", "last"],
        &["tx", "0x12"],
        &["dag", "--limit", "0"],
        &["model", "push"],
        &["model", "inspect", "x.onnx", "--shape", "nonsense"],
        &["run", "--local", "x.onnx", "--input", "-", "--input", "x=-"],
        &["dev", "--port", "70000"],
    ] {
        assert_eq!(run(args).code, 2, "{args:?}");
    }
}

#[test]
fn an_unreachable_node_is_named_with_the_next_step() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    for args in [
        &["status"] as &[&str],
        &["block"],
        &["dag"],
        &["model", "list"],
        &["balance", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"],
        &["send", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"],
    ] {
        let ran = run(&[args, &["--rpc-url", &url, "--json"]].concat());
        ran.fails(1, &[&url, "lattice dev"]);
        assert!(ran.json()["error"]["message"].as_str().unwrap().contains(&url), "{ran:?}");
    }
    run(&["status", "--rpc-url", "wss://127.0.0.1"]).fails(1, &["wss://127.0.0.1", "http"]);
}

#[test]
fn broken_model_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let model = fs::read(digits_model()).unwrap();
    let image = onnx::value("x", onnx::FLOAT, &[onnx::Dim::Fixed(1)]);
    let input = write(dir.path(), "one.json", b"[1]");
    let unsupported = onnx::model("Xxxx", &["x"], &[image]);
    for (name, bytes, words) in [
        ("empty.onnx", Vec::new(), vec![]),
        ("half.onnx", model[..model.len() / 2].to_vec(), vec![]),
        ("text.onnx", b"this is no model".to_vec(), vec![]),
        ("frozen.onnx", b"LATG\x00".to_vec(), vec![]),
        ("unsupported.onnx", unsupported, vec!["Xxxx", "not supported"]),
    ] {
        let file = write(dir.path(), name, &bytes);
        let mut words = words;
        words.push(name);
        let inspected = run(&["model", "inspect", &file, "--json"]);
        inspected.fails(1, &words);
        assert!(inspected.json()["error"]["message"].is_string());
        if name == "unsupported.onnx" {
            assert!(inspected.json()["unsupported"][0]["operator"].as_str().unwrap().contains("Xxxx"));
        }
        run(&["run", "--local", &file, "--input", &input, "--json"]).fails(1, &words);
        // Nothing is sent, so no node is needed to be told.
        run(&["model", "push", &file, "--rpc-url", "http://127.0.0.1:1"]).fails(1, &words);
    }
    run(&["model", "inspect", "no-such-file.onnx"]).fails(1, &["no-such-file.onnx", "check the path"]);
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = zero_tensor();
    let elements = good.len();
    let doubles = Tensor::from_f64(good.shape(), vec![0.0; elements]).unwrap();
    let short = Tensor::from_f32([1, elements - 1], vec![0.0; elements - 1]).unwrap();
    let good_npy = npy::write(&good);
    let file = |name: &str, bytes: &[u8]| write(dir.path(), name, bytes);
    let good_file = file("good.npy", &good_npy);
    let model = digits_model();
    let cases: [(Vec<String>, &[&str]); 9] = [
        (vec![file("f64.npy", &npy::write(&doubles))], &["f32", "f64", "astype"]),
        (vec![file("short.npy", &npy::write(&short))], &["shape"]),
        (vec![file("cut.npy", &good_npy[..good_npy.len() - 1])], &["cut.npy"]),
        (vec![file("garbage.npy", b"garbage")], &["garbage.npy", "NUMPY"]),
        (vec![file("garbage.json", b"{")], &["garbage.json"]),
        (vec![file("words.json", format!("[{}]", ["\"one\""; 64].join(",")).as_bytes())], &["words.json"]),
        (vec![format!("nobody={good_file}")], &["nobody", "no input"]),
        (vec![good_file.clone(), good_file.clone()], &["2 inputs"]),
        (vec![], &["missing"]),
    ];
    for (inputs, words) in cases {
        let mut args = vec!["run", "--local", model.to_str().unwrap(), "--json"];
        inputs.iter().for_each(|input| args.extend(["--input", input]));
        let ran = run(&args);
        ran.fails(1, words);
        assert!(ran.json()["error"]["message"].is_string(), "{ran:?}");
    }
    run_with_stdin(&["run", "--local", model.to_str().unwrap(), "--input", "-"], b"").fails(1, &["stdin"]);
}

#[test]
fn limits_of_a_local_run_hold() {
    let dir = tempfile::tempdir().unwrap();
    let input = write(dir.path(), "zero.npy", &npy::write(&zero_tensor()));
    let model = digits_model();
    let args = ["run", "--local", model.to_str().unwrap(), "--input", &input];
    run(&[&args[..], &["--memory-mb", "0"]].concat()).fails(1, &["memory", "--memory-mb"]);

    // A pipe that nobody writes to takes for ever.
    let pipe = dir.path().join("pipe.onnx");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let args = ["run", "--local", pipe.to_str().unwrap(), "--timeout-s", "1"];
    run(&args).fails(1, &["1 s", "--timeout-s"]);
}
