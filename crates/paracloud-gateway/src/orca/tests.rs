use super::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap())
    };
    fields.iter().map(field).collect()
}

fn words(value: &str) -> Result<Option<Load>, Refused> {
    read(&headers(&[("endpoint-load-metrics", value)]))
}

fn message(fields: &[(u8, f64)], maps: &[(u8, &str, f64)]) -> Vec<u8> {
    let double = |field: u8, value: f64| [&[field << 3 | 1][..], &value.to_le_bytes()].concat();
    let mut bytes = Vec::new();
    for (field, value) in fields {
        bytes.extend(double(*field, *value));
    }
    for (field, name, value) in maps {
        let length = u8::try_from(name.len()).unwrap();
        let entry = [&[1 << 3 | 2, length][..], name.as_bytes(), &double(2, *value)].concat();
        bytes.extend([field << 3 | 2, u8::try_from(entry.len()).unwrap()]);
        bytes.extend(entry);
    }
    bytes
}

fn full() -> Load {
    Load {
        cpu_permille: Some(700),
        memory_permille: Some(900),
        application_permille: Some(1_800),
        rps_milli: Some(1_000_500),
        eps_milli: Some(2_000),
        others: [("named_metrics.queue".into(), 4_000), ("utilization.disk".into(), 250)].into(),
    }
}

#[test]
fn a_report_says_the_same_in_each_of_its_forms() {
    let bytes = message(
        &[(1, 0.7), (2, 0.9), (9, 1.8), (6, 1000.5), (7, 2.0)],
        &[(8, "queue", 4.0), (5, "disk", 0.25)],
    );
    let figures = "cpu_utilization:0.7,mem_utilization:0.9,application_utilization:1.8, rps_fractional:1000.5,\
                   eps:2,named_metrics.queue:4,utilization.disk:0.25";
    for value in [
        figures.to_owned(),
        format!("TEXT {figures}"),
        format!("BIN {}", STANDARD.encode(&bytes)),
        r#"JSON {"cpu_utilization": 0.7, "mem_utilization": 0.9, "application_utilization": 1.8,
            "rps_fractional": 1000.5, "eps": 2, "named_metrics": {"queue": 4}, "utilization": {"disk": 0.25}}"#
            .replace('\n', " "),
        r#"JSON {"cpuUtilization":0.7,"memUtilization":0.9,"applicationUtilization":1.8,"rpsFractional":1000.5,
            "eps":2,"namedMetrics":{"queue":4},"utilization":{"disk":0.25},"newer":[1,{"a":null}],"other":"x"}"#
            .replace('\n', " "),
    ] {
        assert_eq!(words(&value), Ok(Some(full())), "{value}");
    }
    for value in [STANDARD.encode(&bytes), STANDARD_NO_PAD.encode(&bytes)] {
        assert_eq!(read(&headers(&[("endpoint-load-metrics-bin", &value)])), Ok(Some(full())), "{value}");
    }
    assert_eq!(read(&HeaderMap::new()), Ok(None));
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let header = full().text().unwrap();
    assert_eq!(words(header.to_str().unwrap()), Ok(Some(full())));
    let message = full().message().unwrap();
    let message = message.to_str().unwrap();
    assert_eq!(read(&headers(&[("endpoint-load-metrics-bin", message)])), Ok(Some(full())));
    assert_eq!(Load::default().text(), None, "nothing to say");
    let odd = Load { others: [("named_metrics.a:b,c".into(), 1)].into(), ..Load::default() };
    assert_eq!(odd.text(), None, "a name that would say something else");
}

#[test]
fn a_report_in_more_than_one_form_is_refused() {
    for fields in [
        &[("endpoint-load-metrics", "eps:1"), ("endpoint-load-metrics-bin", "OQAAAAAAAABA")][..],
        &[("endpoint-load-metrics", "eps:1"), ("endpoint-load-metrics", "TEXT eps:1")],
        &[("endpoint-load-metrics-bin", ""), ("endpoint-load-metrics-bin", "")],
    ] {
        assert_eq!(read(&headers(fields)), Err(Refused::Twice), "{fields:?}");
    }
}

#[test]
fn a_number_that_is_none_and_a_name_that_stands_twice_are_refused() {
    for value in
        ["cpu_utilization:NaN", "eps:inf", "eps:-1", "rps_fractional:1e13", "eps:", "eps:1x", "eps:-inf"]
    {
        assert!(matches!(words(value), Err(Refused::Value(_))), "{value}: {:?}", words(value));
    }
    for value in [r#"JSON {"eps":-1}"#, r#"JSON {"eps":"NaN"}"#, r#"JSON {"named_metrics":{"a":null}}"#] {
        assert!(matches!(words(value), Err(Refused::Value(_))), "{value}: {:?}", words(value));
    }
    for value in [
        "eps:1,eps:1",
        "named_metrics.a:1,named_metrics.a:2",
        r#"JSON {"eps":1,"eps":2}"#,
        r#"JSON {"cpu_utilization":1,"cpuUtilization":1}"#,
        r#"JSON {"named_metrics":{"a":1,"a":1}}"#,
    ] {
        assert!(matches!(words(value), Err(Refused::Name(_))), "{value}: {:?}", words(value));
    }
    for (fields, maps) in [
        (&[(7, f64::NAN)][..], &[][..]),
        (&[(7, f64::INFINITY)], &[]),
        (&[(1, -0.5)], &[]),
        (&[], &[(8, "a", f64::NAN)]),
    ] {
        let value = format!("BIN {}", STANDARD.encode(message(fields, maps)));
        assert!(matches!(words(&value), Err(Refused::Value(_))), "{fields:?}");
    }
    let twice = format!("BIN {}", STANDARD.encode(message(&[(7, 1.0), (7, 1.0)], &[])));
    assert_eq!(words(&twice), Err(Refused::Name("eps".into())));
}

#[test]
fn what_is_no_report_is_refused_with_what_is_wrong() {
    for value in [
        "",
        "eps",
        "TEXT ",
        "JSON",
        "JSON 7",
        "JSON {",
        "BIN !",
        "BIN CQ==",
        "BIN Cw==",
        "BIN ////////////////",
    ] {
        assert!(matches!(words(value), Err(Refused::Form(_))), "{value}: {:?}", words(value));
    }
    assert_eq!(words(&format!("eps:1,{}", "x:1,".repeat(2_000))), Err(Refused::Long));
    let many = (0..=ORCA_NAMES_MAX).map(|n| format!("named_metrics.n{n}:1")).collect::<Vec<_>>().join(",");
    assert_eq!(words(&many), Err(Refused::Names));
    assert_eq!(words(&format!("named_metrics.{}:1", "n".repeat(200))), Err(Refused::Names));
    assert_eq!(words("newer:1,eps:1").unwrap().unwrap().eps_milli, Some(1_000), "what is new is ignored");
}

proptest! {
    #[test]
    fn whatever_an_application_says_is_read_or_refused(value in "(TEXT |JSON |BIN |)\\PC{0,80}") {
        if let Ok(value) = HeaderValue::try_from(value) {
            let mut headers = HeaderMap::new();
            headers.insert(METRICS, value);
            let _ = read(&headers);
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = words(&format!("BIN {}", STANDARD.encode(bytes)));
    }
}

#[test]
fn the_examples_of_the_reference_are_reports() {
    let page = include_str!("../../../../docs/reference/manifest.md");
    let lines = page.lines().filter_map(|line| line.split_once(": ")).filter(|(name, _)| {
        let name = HeaderName::try_from(*name);
        name.is_ok_and(|name| name == METRICS || name == METRICS_BIN)
    });
    let read = lines.map(|(name, value)| {
        let name = HeaderName::try_from(name).unwrap();
        let load = read(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]));
        load.unwrap().unwrap().application_permille
    });
    assert_eq!(read.collect::<Vec<_>>(), [Some(850), Some(850), Some(850), Some(250)]);
}
