//! The forms in words.

use super::{Load, Refused};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

/// `cpu_utilization:0.3,named_metrics.queue:4`.
pub(super) fn text(report: &str) -> Result<Load, Refused> {
    let mut load = Load::default();
    for figure in report.split(',').map(str::trim) {
        let (name, value) = figure.split_once(':').ok_or(Refused::Form("a figure is `name:number`"))?;
        let (name, value) = (name.trim(), value.trim());
        let value: f64 = value.parse().map_err(|_| Refused::Value(name.chars().take(64).collect()))?;
        load.take(name, value)?;
    }
    Ok(load)
}

/// The message as proto3 has it in JSON, with either kind of names.
pub(super) fn json(report: &str) -> Result<Load, Refused> {
    let Fields(fields) = serde_json::from_str(report).map_err(|_| Refused::Form("not a JSON object"))?;
    let mut load = Load::default();
    for (name, value) in fields {
        let name = match name.as_str() {
            "cpuUtilization" => "cpu_utilization",
            "memUtilization" => "mem_utilization",
            "applicationUtilization" => "application_utilization",
            "rpsFractional" => "rps_fractional",
            "namedMetrics" => "named_metrics",
            "requestCost" => "request_cost",
            name => name,
        };
        match (name, value) {
            ("named_metrics" | "utilization" | "request_cost", Value::Fields(Fields(fields))) => {
                for (of, value) in fields {
                    let Value::Number(value) = value else { return Err(Refused::Value(of)) };
                    load.take(&format!("{name}.{of}"), value)?;
                }
            }
            (name, Value::Number(value)) if !name.contains('.') => load.take(name, value)?,
            (
                "cpu_utilization" | "mem_utilization" | "application_utilization" | "rps_fractional" | "eps",
                _,
            ) => {
                return Err(Refused::Value(name.to_owned()));
            }
            _ => {}
        }
    }
    Ok(load)
}

/// An object as it stands there: also with a name that stands twice.
struct Fields(Vec<(String, Value)>);

enum Value {
    Number(f64),
    Fields(Fields),
    Other,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Fields(fields) => Ok(fields),
            Value::Number(_) | Value::Other => Err(D::Error::custom("not an object")),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Value::Fields(Fields(fields)))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Number(value))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "what is too large to be exact is too large to be taken"
            )]
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "what is too large to be exact is too large to be taken"
            )]
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value as f64))
            }

            fn visit_str<E>(self, _: &str) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Other)
            }
        }
        from.deserialize_any(Any)
    }
}
