// What Grafana says a dashboard is: every key known, every value of its type, nothing required.
import type { AnnotationQuery, Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as BarGauge from './node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type * as Stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as Table from './node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as TimeSeries from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';
import type * as Timeline from './node_modules/@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen';

type Loose<T> = T extends string
  ? T | `${T}` // the value of an enumeration, as JSON has it
  : T extends readonly (infer Item)[]
    ? Loose<Item>[]
    : T extends object
      ? { [Key in keyof T]?: Loose<T[Key]> }
      : T;

type Of<Options, Custom> = Loose<
  Omit<Panel, 'options' | 'fieldConfig'> & {
    options: Options;
    fieldConfig: Omit<NonNullable<Panel['fieldConfig']>, 'defaults'> & {
      defaults: Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'> & { custom: Custom };
    };
  }
>;

export type Panels = {
  bargauge: Of<BarGauge.Options, never>;
  stat: Of<Stat.Options, never>;
  table: Of<Table.Options, Table.FieldConfig>;
  timeseries: Of<TimeSeries.Options, TimeSeries.FieldConfig>;
  'state-timeline': Of<Timeline.Options, Timeline.FieldConfig>;
};
export type Defaults<Kind extends { fieldConfig?: { defaults?: unknown } }> = NonNullable<
  NonNullable<Kind['fieldConfig']>['defaults']
>;
export type Row = Loose<Omit<RowPanel, 'panels'>>;

// The Prometheus data source has keys of its own in an annotation, which the schema does not know.
type OfPrometheus = { expr?: string; titleFormat?: string; useValueForTime?: boolean };
type OfPrometheusQuery = { target?: { expr?: string; refId?: string } };
export type Annotation = Loose<Omit<AnnotationQuery, 'target'>> & OfPrometheus & OfPrometheusQuery;

// A query variable's definition is what a person reads in the list of variables; the schema does not know it.
type Variable = NonNullable<NonNullable<Dashboard['templating']>['list']>[number] & { definition?: string };
export type Whole = Loose<Omit<Dashboard, 'annotations' | 'panels' | 'templating'>> & {
  annotations?: { list?: Annotation[] };
  templating?: { list?: Loose<Variable>[] };
};
