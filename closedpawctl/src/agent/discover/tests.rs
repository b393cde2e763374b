//! Which endpoint is taken, and what is said about the others.

use closedpaw_tests::scripted::{Card, Fault, Format, Script};

use super::*;
use crate::agent::http::Stage;
use crate::agent::ports::{DialError, Note};
use crate::agent::testing::{NeverDial, NoDial, Recorder, Servers, endpoint, impatient, limits};

fn script(format: Format, models: Vec<Card>) -> Script {
    Script { models, ..Script::new(format, []) }
}

fn card(name: &str, capabilities: &[&str], size: &str) -> Card {
    let capabilities = Some(capabilities.iter().map(|word| (*word).to_owned()).collect());
    Card { name: name.into(), capabilities, parameter_size: size.into(), ..Card::default() }
}

fn cloud(name: &str) -> Card {
    Card { remote_host: Some("https://ollama.com".into()), ..card(name, &["completion", "tools"], "120B") }
}

async fn found(script: Script, endpoint: Endpoint) -> (Result<Model, Unusable>, Recorder) {
    let mut servers = Servers::start([script]);
    let mut voice = Recorder::default();
    let found = find(&mut servers, &[endpoint], &mut voice, &limits()).await;
    (found.map_err(|mut none| none.tried.remove(0).why), voice)
}

fn named(kind: Kind, model: &str) -> Endpoint {
    Endpoint { model: Some(model.into()), ..endpoint(kind) }
}

#[tokio::test]
async fn the_first_usable_endpoint_wins() {
    let empty = script(Format::Ollama, vec![]);
    let good = script(Format::OpenAi, vec![Card { name: "good-8b".into(), ..Card::default() }]);
    let mut servers = Servers::start([empty, good.clone(), good]);
    let endpoints = [endpoint(Kind::Either), endpoint(Kind::Either), endpoint(Kind::Either)];
    let model = find(&mut servers, &endpoints, &mut Recorder::default(), &limits()).await.unwrap();
    assert_eq!((model.endpoint, model.name(), model.wire()), (1, "good-8b", Wire::OpenAi));
    assert!(servers.0[2].seen().is_empty(), "the next one is not even asked");
}

#[tokio::test]
async fn a_model_that_can_drive_tools_is_preferred() {
    let models = vec![
        card("embed", &["embedding"], "100M"),
        card("plain", &["completion"], "8B"),
        card("tools", &["completion", "tools"], "8B"),
    ];
    let (model, _) = found(script(Format::Ollama, models.clone()), endpoint(Kind::Ollama)).await;
    let model = model.unwrap();
    assert_eq!((model.name(), model.mode()), ("tools", Mode::Native));
    let (model, _) = found(script(Format::Ollama, models[..2].to_vec()), endpoint(Kind::Ollama)).await;
    let model = model.unwrap();
    assert_eq!((model.name(), model.mode()), ("plain", Mode::Steps));
    let (model, _) = found(script(Format::Ollama, models[..1].to_vec()), endpoint(Kind::Ollama)).await;
    assert_eq!(model, Err(Unusable::CannotChat));
}

#[tokio::test]
async fn small_models_and_old_servers_are_driven_by_steps() {
    for capabilities in [Some(vec!["completion".to_owned(), "tools".to_owned()]), None] {
        let small = Card { capabilities, parameter_size: "494.03M".into(), ..Card::default() };
        let (model, _) = found(script(Format::Ollama, vec![small]), endpoint(Kind::Ollama)).await;
        assert_eq!(model.unwrap().mode(), Mode::Steps);
    }
    for (name, mode) in [
        ("qwen2.5-coder-0.5b-instruct-q4_k_m", Mode::Steps),
        ("Llama-3.2-1B", Mode::Steps),
        ("qwen3-8b", Mode::Native),
        ("gpt-oss", Mode::Native),
    ] {
        let card = Card { name: name.into(), ..Card::default() };
        let (model, _) = found(script(Format::OpenAi, vec![card]), endpoint(Kind::OpenAi)).await;
        assert_eq!(model.unwrap().mode(), mode, "{name}");
    }
    let embedded = Endpoint { embedded: true, ..endpoint(Kind::OpenAi) };
    let (model, _) = found(script(Format::OpenAi, vec![Card::default()]), embedded).await;
    let model = model.unwrap();
    assert!(model.mode() == Mode::Steps && model.embedded());
}

#[tokio::test]
async fn the_named_model_wins_and_its_absence_is_an_error() {
    let models =
        vec![card("a", &["completion", "tools"], "8B"), card("b:latest", &["completion", "tools"], "8B")];
    for name in ["b", "b:latest"] {
        let (model, _) = found(script(Format::Ollama, models.clone()), named(Kind::Ollama, name)).await;
        assert_eq!(model.unwrap().name(), "b:latest");
    }
    let missing =
        Err(Unusable::ModelMissing { name: "c".into(), available: vec!["a".into(), "b:latest".into()] });
    for format in [Format::Ollama, Format::OpenAi] {
        let (model, _) = found(script(format, models.clone()), named(Kind::Either, "c")).await;
        assert_eq!(model, missing);
    }
}

#[tokio::test]
async fn a_cloud_model_is_never_chosen_and_always_reported() {
    let both = vec![cloud("big"), card("local", &["completion", "tools"], "8B")];
    let (model, voice) = found(script(Format::Ollama, both), endpoint(Kind::Either)).await;
    assert_eq!(model.unwrap().name(), "local");
    let told = Note::CloudModelSkipped { label: "scripted".into(), model: "big".into() };
    assert_eq!(voice.notes, [told]);
    let only = Err(Unusable::CloudOnly { models: vec!["big".into()] });
    for remote_hidden in [false, true] {
        for endpoint in [endpoint(Kind::Ollama), named(Kind::Ollama, "big")] {
            let card = Card { remote_hidden, ..cloud("big") };
            let (model, voice) = found(script(Format::Ollama, vec![card]), endpoint).await;
            assert_eq!(model, only);
            assert_eq!(voice.notes.len(), 1);
        }
    }
    // Where the server does not say it, the name does.
    let by_name = vec![Card { name: "gpt-oss:120b-cloud".into(), ..Card::default() }];
    for format in [Format::Ollama, Format::OpenAi] {
        let (model, voice) = found(script(format, by_name.clone()), endpoint(Kind::Either)).await;
        assert_eq!(model, Err(Unusable::CloudOnly { models: vec!["gpt-oss:120b-cloud".into()] }));
        assert_eq!(voice.notes.len(), 1);
    }
}

#[tokio::test]
async fn the_context_is_what_the_model_holds_up_to_what_is_wished() {
    for (holds, context) in [(1 << 20, 16_384), (8192, 8192), (4096, 4096)] {
        for format in [Format::Ollama, Format::OpenAi] {
            let card = Card { context: holds, ..Card::default() };
            let (model, _) = found(script(format, vec![card]), endpoint(Kind::Either)).await;
            assert_eq!(model.unwrap().context(), context);
        }
    }
    for format in [Format::Ollama, Format::OpenAi] {
        let card = Card { context: 2048, ..Card::default() };
        let (model, _) = found(script(format, vec![card]), endpoint(Kind::Either)).await;
        let small = Unusable::ContextTooSmall { model: "scripted:8b".into(), context: 2048, needed: 4096 };
        assert_eq!(model, Err(small));
    }
}

#[tokio::test]
async fn a_loading_server_is_waited_for_but_not_for_ever() {
    let script = Script { loading: 3, ..script(Format::OpenAi, vec![Card::default()]) };
    let (model, voice) = found(script.clone(), endpoint(Kind::OpenAi)).await;
    assert!(model.is_ok());
    assert_eq!(voice.notes, [Note::Loading { label: "scripted".into() }], "and said once");
    let mut servers = Servers::start([Script { loading: usize::MAX, ..script }]);
    let none = find(&mut servers, &[endpoint(Kind::OpenAi)], &mut Recorder::default(), &impatient()).await;
    assert_eq!(none.unwrap_err().tried[0].why, Unusable::Loading);
}

#[tokio::test]
async fn whoever_is_no_model_server_is_told_apart() {
    for (fault, why) in [
        (Fault::Impostor, Unusable::NotAModelServer),
        (Fault::NotHttp, Unusable::NotAModelServer),
        (Fault::HangUp, Unusable::HungUp),
        (Fault::Status(404, "no".into()), Unusable::NotAModelServer),
    ] {
        for (format, kind) in
            [(Format::Ollama, Kind::Ollama), (Format::OpenAi, Kind::OpenAi), (Format::OpenAi, Kind::Either)]
        {
            let script = Script { fault: Some(fault.clone()), ..script(format, vec![Card::default()]) };
            let (model, _) = found(script, endpoint(kind)).await;
            assert_eq!(model, Err(why.clone()), "{fault:?} {kind:?}");
        }
    }
    for (status, why) in [(401, Unusable::NeedsKey), (500, Unusable::Refused(500))] {
        let fault = Some(Fault::Status(status, "no".into()));
        let script = Script { fault, ..script(Format::OpenAi, vec![Card::default()]) };
        assert_eq!(found(script, endpoint(Kind::OpenAi)).await.0, Err(why));
    }
}

#[tokio::test]
async fn who_says_ollama_and_does_not_answer_so_is_an_impostor() {
    let script = Script { fault: Some(Fault::Garbage), ..script(Format::Ollama, vec![Card::default()]) };
    assert_eq!(found(script.clone(), endpoint(Kind::Ollama)).await.0, Err(Unusable::Impostor));
    assert_eq!(found(script, endpoint(Kind::Either)).await.0, Err(Unusable::Impostor));
}

#[tokio::test]
async fn a_server_of_another_format_is_not_taken_for_ollama() {
    let openai = script(Format::OpenAi, vec![Card::default()]);
    assert_eq!(found(openai, endpoint(Kind::Ollama)).await.0, Err(Unusable::NotAModelServer));
    let ollama = script(Format::Ollama, vec![Card::default()]);
    assert_eq!(found(ollama, endpoint(Kind::OpenAi)).await.0, Err(Unusable::NotAModelServer));
}

#[tokio::test]
async fn a_slow_server_is_left() {
    for (fault, stage) in [(Fault::SlowFirstByte(60_000), Stage::Head), (Fault::Stall, Stage::Idle)] {
        let script = Script { fault: Some(fault), ..script(Format::OpenAi, vec![Card::default()]) };
        let mut servers = Servers::start([script]);
        let none =
            find(&mut servers, &[endpoint(Kind::OpenAi)], &mut Recorder::default(), &impatient()).await;
        assert_eq!(none.unwrap_err().tried[0].why, Unusable::Slow(stage));
    }
}

#[tokio::test(start_paused = true)]
async fn no_connection_is_said_with_its_reason() {
    let mut voice = Recorder::default();
    let both = [endpoint(Kind::Ollama), endpoint(Kind::OpenAi)];
    let none = find(&mut NoDial(DialError::Refused), &both, &mut voice, &limits()).await.unwrap_err();
    assert_eq!(none.tried.len(), 2);
    assert_eq!(none.code(), Unusable::Down(DialError::Refused).code());
    assert!(none.to_string().contains("nothing listens there"));
    let none = find(&mut NeverDial, &both[..1], &mut voice, &limits()).await.unwrap_err();
    assert_eq!(none.tried[0].why, Unusable::Slow(Stage::Connect));
    let none = find(&mut NeverDial, &[], &mut voice, &limits()).await.unwrap_err();
    assert_eq!((none.tried.len(), none.code()), (0, 100));
}

#[tokio::test]
async fn paths_stand_behind_the_base_path() {
    for base_path in ["/proxy/", "proxy", "/proxy"] {
        let mut servers = Servers::start([script(Format::OpenAi, vec![Card::default()])]);
        let endpoint = Endpoint { base_path: base_path.into(), ..endpoint(Kind::OpenAi) };
        let _ = find(&mut servers, &[endpoint], &mut Recorder::default(), &limits()).await;
        assert_eq!(servers.0[0].seen()[0].path, "/proxy/health");
    }
}

#[test]
fn sizes_are_read_from_names() {
    for (word, size) in [
        ("7B", Some(7000.0)),
        ("0.5b", Some(500.0)),
        ("494.03M", Some(494.03)),
        ("8x7b", None),
        ("b", None),
        ("é", None),
        ("", None),
        ("1.2.3b", None),
        ("infb", None),
    ] {
        assert_eq!(millions(word), size, "{word}");
    }
}

#[test]
fn the_most_hopeful_reason_gives_the_code() {
    let tried = |why| Tried { label: "x".into(), why };
    let none = NoModel {
        tried: vec![
            tried(Unusable::Down(DialError::Refused)),
            tried(Unusable::NoModels),
            tried(Unusable::Impostor),
        ],
    };
    assert_eq!(none.code(), Unusable::NoModels.code());
}
