//! The functions of PromQL: names, types of arguments, types of results.
//!
//! Source: Prometheus, `promql/parser/functions.go`.

use super::expression::ValueType::{self, Matrix, Scalar, Text, Vector};

/// One function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Which one.
    pub id: FunctionId,
    /// As it is written.
    pub name: &'static str,
    /// Types of its arguments; the last ones may be left out, see `optional`.
    pub arguments: &'static [ValueType],
    /// How many of the last arguments may be left out.
    pub optional: usize,
    /// Whether the last argument may be repeated.
    pub repeats: bool,
    /// Type of its result.
    pub returns: ValueType,
}

impl Function {
    /// Whether it looks at one window of each series and yields a value for it, as `rate` does.
    pub(in crate::query) fn is_over_windows(&self) -> bool {
        self.arguments.contains(&Matrix) && self.id != FunctionId::AbsentOverTime
    }
}

/// The function of a name.
pub(in crate::query) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

macro_rules! functions {
    ($($id:ident $name:literal ($($argument:ident),*) $(? $optional:literal)? $($repeats:ident)? => $returns:ident;)*) => {
        /// Names of the functions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FunctionId {
            $(#[doc = concat!("`", $name, "`")] $id,)*
        }

        /// All functions, by name.
        pub(in crate::query) static FUNCTIONS: &[Function] = &[
            $(Function {
                id: FunctionId::$id,
                name: $name,
                arguments: &[$($argument),*],
                optional: 0 $(+ $optional)?,
                repeats: functions!(@repeats $($repeats)?),
                returns: $returns,
            },)*
        ];
    };
    (@repeats) => { false };
    (@repeats repeats) => { true };
}

functions! {
    Abs "abs" (Vector) => Vector;
    Absent "absent" (Vector) => Vector;
    AbsentOverTime "absent_over_time" (Matrix) => Vector;
    Acos "acos" (Vector) => Vector;
    Acosh "acosh" (Vector) => Vector;
    Asin "asin" (Vector) => Vector;
    Asinh "asinh" (Vector) => Vector;
    Atan "atan" (Vector) => Vector;
    Atanh "atanh" (Vector) => Vector;
    AvgOverTime "avg_over_time" (Matrix) => Vector;
    Ceil "ceil" (Vector) => Vector;
    Changes "changes" (Matrix) => Vector;
    Clamp "clamp" (Vector, Scalar, Scalar) => Vector;
    ClampMax "clamp_max" (Vector, Scalar) => Vector;
    ClampMin "clamp_min" (Vector, Scalar) => Vector;
    Cos "cos" (Vector) => Vector;
    Cosh "cosh" (Vector) => Vector;
    CountOverTime "count_over_time" (Matrix) => Vector;
    DayOfMonth "day_of_month" (Vector) ? 1 => Vector;
    DayOfWeek "day_of_week" (Vector) ? 1 => Vector;
    DayOfYear "day_of_year" (Vector) ? 1 => Vector;
    DaysInMonth "days_in_month" (Vector) ? 1 => Vector;
    Deg "deg" (Vector) => Vector;
    Delta "delta" (Matrix) => Vector;
    Deriv "deriv" (Matrix) => Vector;
    DoubleExponentialSmoothing "double_exponential_smoothing" (Matrix, Scalar, Scalar) => Vector;
    End "end" () => Scalar;
    Exp "exp" (Vector) => Vector;
    FirstOverTime "first_over_time" (Matrix) => Vector;
    Floor "floor" (Vector) => Vector;
    HistogramAvg "histogram_avg" (Vector) => Vector;
    HistogramCount "histogram_count" (Vector) => Vector;
    HistogramFraction "histogram_fraction" (Scalar, Scalar, Vector) => Vector;
    HistogramQuantile "histogram_quantile" (Scalar, Vector) => Vector;
    HistogramQuantiles "histogram_quantiles" (Vector, Text, Scalar) repeats => Vector;
    HistogramStddev "histogram_stddev" (Vector) => Vector;
    HistogramStdvar "histogram_stdvar" (Vector) => Vector;
    HistogramSum "histogram_sum" (Vector) => Vector;
    Hour "hour" (Vector) ? 1 => Vector;
    Idelta "idelta" (Matrix) => Vector;
    Increase "increase" (Matrix) => Vector;
    Info "info" (Vector, Vector) ? 1 => Vector;
    Irate "irate" (Matrix) => Vector;
    LabelJoin "label_join" (Vector, Text, Text, Text) ? 1 repeats => Vector;
    LabelReplace "label_replace" (Vector, Text, Text, Text, Text) => Vector;
    LastOverTime "last_over_time" (Matrix) => Vector;
    Ln "ln" (Vector) => Vector;
    Log10 "log10" (Vector) => Vector;
    Log2 "log2" (Vector) => Vector;
    MadOverTime "mad_over_time" (Matrix) => Vector;
    MaxOf "max_of" (Scalar, Scalar) => Scalar;
    MaxOverTime "max_over_time" (Matrix) => Vector;
    MinOf "min_of" (Scalar, Scalar) => Scalar;
    MinOverTime "min_over_time" (Matrix) => Vector;
    Minute "minute" (Vector) ? 1 => Vector;
    Month "month" (Vector) ? 1 => Vector;
    Pi "pi" () => Scalar;
    PredictLinear "predict_linear" (Matrix, Scalar) => Vector;
    PresentOverTime "present_over_time" (Matrix) => Vector;
    QuantileOverTime "quantile_over_time" (Scalar, Matrix) => Vector;
    Rad "rad" (Vector) => Vector;
    Range "range" () => Scalar;
    Rate "rate" (Matrix) => Vector;
    Resets "resets" (Matrix) => Vector;
    Round "round" (Vector, Scalar) ? 1 => Vector;
    ScalarOf "scalar" (Vector) => Scalar;
    Sgn "sgn" (Vector) => Vector;
    Sin "sin" (Vector) => Vector;
    Sinh "sinh" (Vector) => Vector;
    Sort "sort" (Vector) => Vector;
    SortByLabel "sort_by_label" (Vector, Text) ? 1 repeats => Vector;
    SortByLabelDesc "sort_by_label_desc" (Vector, Text) ? 1 repeats => Vector;
    SortDesc "sort_desc" (Vector) => Vector;
    Sqrt "sqrt" (Vector) => Vector;
    Start "start" () => Scalar;
    StddevOverTime "stddev_over_time" (Matrix) => Vector;
    StdvarOverTime "stdvar_over_time" (Matrix) => Vector;
    Step "step" () => Scalar;
    SumOverTime "sum_over_time" (Matrix) => Vector;
    Tan "tan" (Vector) => Vector;
    Tanh "tanh" (Vector) => Vector;
    Time "time" () => Scalar;
    Timestamp "timestamp" (Vector) => Vector;
    TsOfFirstOverTime "ts_of_first_over_time" (Matrix) => Vector;
    TsOfLastOverTime "ts_of_last_over_time" (Matrix) => Vector;
    TsOfMaxOverTime "ts_of_max_over_time" (Matrix) => Vector;
    TsOfMinOverTime "ts_of_min_over_time" (Matrix) => Vector;
    VectorOf "vector" (Scalar) => Vector;
    Year "year" (Vector) ? 1 => Vector;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(function("rate").map(|f| f.id), Some(FunctionId::Rate));
        assert_eq!(function("holt_winters"), None);
    }
}
