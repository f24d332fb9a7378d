//! Fields of protobuf messages in JSON, as lenient as readers of that mapping are: null is nothing, 64-bit numbers come
//! as texts too, enumerations as numbers or names. <https://protobuf.dev/programming-guides/json/>

use std::{borrow::Cow, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{limits::NESTING_MAX, tags::pair};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Bytes in either Base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
    decoded.ok()
}

/// A text, borrowed where it has no escapes; null is empty.
#[derive(Default)]
pub(in crate::ingest) struct Text<'a>(pub(in crate::ingest) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A text of its own; null is empty.
pub(in crate::ingest) fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<String, D::Error> {
    Text::deserialize(deserializer).map(|text| text.0.into_owned())
}

/// An id: hexadecimal digits in any case. Its length is checked later on. What a plain protobuf writer makes of it,
/// Base64, is understood too where its length tells.
pub(in crate::ingest) fn id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<u8>, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        let is_hex = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(pair, 16).ok())?
    });
    let bytes = match (text.len(), text.ends_with('=')) {
        (24 | 12, true) => base64(&text),
        (0..=64, _) => pairs.collect(),
        _ => None,
    };
    bytes.ok_or_else(|| D::Error::custom("an id is not hexadecimal"))
}

/// A number that is whole, in any form that JSON writers give it.
struct Whole(i128);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number.into()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() != 0.0 || number.abs() > 2e19 {
                    return Err(E::custom(format_args!("{number} is no whole number")));
                }
                Ok(Whole(number as i128))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
                let number = text.parse().ok().filter(|_| text.len() <= 40);
                number
                    .map(Whole)
                    .ok_or_else(|| E::custom("a text stands where a whole number is expected"))
            }
            fn visit_unit<E>(self) -> Result<Whole, E> {
                Ok(Whole(0))
            }
        }
        deserializer.deserialize_any(WholeVisitor)
    }
}

/// A whole number of the type that the field has.
pub(in crate::ingest) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i128>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let Whole(number) = Whole::deserialize(deserializer)?;
    T::try_from(number).map_err(|_| D::Error::custom(format_args!("{number} is out of range")))
}

/// An enumeration by number or by name: what its names begin with, and the rest of them in order.
pub(in crate::ingest) struct Enumeration<'n>(
    pub(in crate::ingest) &'n str,
    pub(in crate::ingest) &'n [&'n str],
);

impl Visitor<'_> for Enumeration<'_> {
    type Value = i32;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number or a name that begins with {}", self.0)
    }
    fn visit_u64<E>(self, number: u64) -> Result<i32, E> {
        Ok(i32::try_from(number).unwrap_or_default())
    }
    fn visit_i64<E>(self, number: i64) -> Result<i32, E> {
        Ok(i32::try_from(number).unwrap_or_default())
    }
    fn visit_f64<E>(self, number: f64) -> Result<i32, E> {
        Ok(number as i32)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<i32, E> {
        let name = text.strip_prefix(self.0).unwrap_or(text);
        let number = self.1.iter().position(|n| n.eq_ignore_ascii_case(name));
        let number = number.and_then(|number| i32::try_from(number).ok());
        number
            .or_else(|| text.parse().ok())
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
    fn visit_unit<E>(self) -> Result<i32, E> {
        Ok(0)
    }
}

/// `SpanKind`.
pub(in crate::ingest) fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    const NAMES: [&str; 6] = [
        "UNSPECIFIED",
        "INTERNAL",
        "SERVER",
        "CLIENT",
        "PRODUCER",
        "CONSUMER",
    ];
    deserializer.deserialize_any(Enumeration("SPAN_KIND_", &NAMES))
}

/// `StatusCode`.
pub(in crate::ingest) fn status_code<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<i32, D::Error> {
    deserializer.deserialize_any(Enumeration("STATUS_CODE_", &["UNSET", "OK", "ERROR"]))
}

/// A number, or one of the three that JSON does not have, as text.
pub(in crate::ingest) struct Double(pub(in crate::ingest) f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DoubleVisitor;
        impl Visitor<'_> for DoubleVisitor {
            type Value = Double;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Double, E> {
                Ok(Double(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Double, E> {
                Ok(Double(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Double, E> {
                Ok(Double(number))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Double, E> {
                let number = text.parse().ok();
                number
                    .map(Double)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(DoubleVisitor)
    }
}

/// A list whose elements are read by a seed; null is an empty one.
pub(in crate::ingest) struct List<S>(pub(in crate::ingest) S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for List<S> {
    type Value = Vec<S::Value>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for List<S> {
    type Value = Vec<S::Value>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.0)? {
            values.push(value);
        }
        Ok(values)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
}

/// A list of messages; null is an empty one.
pub(in crate::ingest) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Attributes.
pub(in crate::ingest) fn attributes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<KeyValue>, D::Error> {
    List(Pair(0)).deserialize(deserializer)
}

/// A value of any type.
pub(in crate::ingest) fn any_value<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AnyValue>, D::Error> {
    Any(0).deserialize(deserializer).map(Some)
}

/// A `KeyValue` whose value lies so many levels deep.
#[derive(Clone, Copy)]
struct Pair(usize);

impl<'de> DeserializeSeed<'de> for Pair {
    type Value = KeyValue;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<KeyValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pair {
    type Value = KeyValue;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `key` and `value`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyValue, A::Error> {
        let mut pair = KeyValue::default();
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "key" => pair.key = map.next_value::<Text<'_>>()?.0.into_owned(),
                "value" => pair.value = Some(map.next_value_seed(Any(self.0))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(pair)
    }
}

/// An `AnyValue` so many levels deep. What lies deeper than is ever read is passed over.
#[derive(Clone, Copy)]
struct Any(usize);

impl<'de> DeserializeSeed<'de> for Any {
    type Value = AnyValue;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AnyValue, D::Error> {
        if self.0 > NESTING_MAX {
            IgnoredAny::deserialize(deserializer)?;
            return Ok(AnyValue::default());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = AnyValue;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that holds a value by its type, as `stringValue`")
    }
    fn visit_unit<E>(self) -> Result<AnyValue, E> {
        Ok(AnyValue::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
        let mut value = None;
        while let Some(Text(key)) = map.next_key()? {
            let found = match &*key {
                "stringValue" | "string_value" => map
                    .next_value::<Option<Text<'_>>>()?
                    .map(|text| Value::StringValue(text.0.into_owned())),
                "boolValue" | "bool_value" => {
                    map.next_value::<Option<bool>>()?.map(Value::BoolValue)
                }
                "intValue" | "int_value" => match map.next_value::<Option<Whole>>()? {
                    Some(Whole(number)) => {
                        Some(Value::IntValue(i64::try_from(number).map_err(|_| {
                            A::Error::custom(format_args!("{number} is out of range"))
                        })?))
                    }
                    None => None,
                },
                "doubleValue" | "double_value" => map
                    .next_value::<Option<Double>>()?
                    .map(|number| Value::DoubleValue(number.0)),
                "bytesValue" | "bytes_value" => match map.next_value::<Option<Text<'_>>>()? {
                    Some(Text(text)) => {
                        Some(Value::BytesValue(base64(&text).ok_or_else(|| {
                            A::Error::custom("bytes are not in Base64")
                        })?))
                    }
                    None => None,
                },
                "arrayValue" | "array_value" => map
                    .next_value_seed(Values(Any(self.0 + 1)))?
                    .map(|values| Value::ArrayValue(ArrayValue { values })),
                "kvlistValue" | "kvlist_value" => map
                    .next_value_seed(Values(Pair(self.0 + 1)))?
                    .map(|values| Value::KvlistValue(KeyValueList { values })),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            value = found.or(value);
        }
        Ok(AnyValue { value })
    }
}

/// An `ArrayValue` or `KeyValueList`: an object with `values`; `None` for null.
struct Values<S>(S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for Values<S> {
    type Value = Option<Vec<S::Value>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for Values<S> {
    type Value = Option<Vec<S::Value>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `values`")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            if key == "values" {
                values = map.next_value_seed(List(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Some(values))
    }
}

/// An object of texts, in its order; numbers and truths are taken as they are written.
#[derive(Default)]
pub(in crate::ingest) struct Tags(pub(in crate::ingest) Vec<KeyValue>);

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TagsVisitor;
        impl<'de> Visitor<'de> for TagsVisitor {
            type Value = Tags;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Text(key)) = map.next_key()? {
                    let text = match map.next_value::<Scalar>()?.0 {
                        None => String::new(),
                        Some(Value::StringValue(text)) => text,
                        Some(Value::BoolValue(is)) => is.to_string(),
                        Some(Value::IntValue(number)) => number.to_string(),
                        Some(Value::DoubleValue(number)) => number.to_string(),
                        Some(_) => continue,
                    };
                    pairs.push(pair(key, Value::StringValue(text)));
                }
                Ok(Tags(pairs))
            }
            fn visit_unit<E>(self) -> Result<Tags, E> {
                Ok(Tags::default())
            }
        }
        deserializer.deserialize_any(TagsVisitor)
    }
}

/// A text, truth or number; `None` for null.
#[derive(Default)]
pub(in crate::ingest) struct Scalar(pub(in crate::ingest) Option<Value>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(Some(Value::StringValue(text.to_owned()))))
            }
            fn visit_bool<E>(self, is: bool) -> Result<Scalar, E> {
                Ok(Scalar(Some(Value::BoolValue(is))))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(Some(Value::IntValue(number))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                let whole = i64::try_from(number).map(Value::IntValue);
                let value = whole.unwrap_or(Value::DoubleValue(number as f64));
                Ok(Scalar(Some(value)))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(Some(Value::DoubleValue(number))))
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(None))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}
