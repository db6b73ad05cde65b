from piccolo.columns import JSON, DoublePrecision, Text, Timestamptz
from piccolo.table import Table


class AnalyticsMetrics(Table, tablename="analytics_metrics"):
    id = Text(primary_key=True, default=None)
    user_id = Text()
    analytic_metric = Text()
    value = DoublePrecision()
    data_string = Text()
    created_at = Timestamptz()


class AnalyticsDetails(Table, tablename="analytics_details"):
    """`data` is the client's JSON as it came: json rather than jsonb, which refuses some strings."""

    id = Text(primary_key=True, default=None)
    user_id = Text()
    type = Text()
    data = JSON()
    data_index = Text()
    created_at = Timestamptz()
