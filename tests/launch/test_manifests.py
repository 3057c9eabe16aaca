"""Rendered manifests against the schemas that JobSet and Kueue publish.

Kubernetes silently drops unknown fields, so a typo would go unnoticed: here it is rejected.
"""

import json
import pathlib
import re

import pytest
import yaml

from launch import command_line

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / '../shared/schemas'
FILES = {
  'JobSet': 'jobset_v1alpha2.json',
  'LocalQueue': 'localqueue_v1beta2.json',
  'ClusterQueue': 'clusterqueue_v1beta2.json',
  'ResourceFlavor': 'resourceflavor_v1beta2.json',
}
PYTHON = {'object': dict, 'array': list, 'string': str, 'integer': int, 'boolean': bool}
TPU = ['--accelerator', 'v6e', '--topology', '4x4', '--num-slices', '2']
GPU = ['--accelerator', 'h100', '--nodes', '4']
MANIFESTS = {
  'tpu': ['gke', '--name', 'r', '--image', 'i', *TPU, '--claim', 'runs:/runs', '--priority', 'low'],
  'gpu': ['gke', '--name', 'r', '--image', 'i', *GPU, '--claim', 'runs:/runs', '--cache', '/runs/cache'],
  'queues tpu': ['queues', '--name', 'q', *TPU],
  'queues gpu': ['queues', '--name', 'q', *GPU],
}


def schema_errors(value, schema: dict, path: str = '') -> list[str]:
  """Returns the violations of a schema of OpenAPI v3, as used by CRDs."""
  if schema.get('x-kubernetes-int-or-string'):
    return [] if isinstance(value, (int, str)) else [f'{path} is neither a number nor a string']
  kind = PYTHON.get(schema.get('type'))
  if kind and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
    return [f'{path} must be of type {schema["type"]}; got {value!r}']
  found = []
  if 'enum' in schema and value not in schema['enum']:
    found.append(f'{path} must be one of {schema["enum"]}; got {value!r}')
  if isinstance(value, str) and 'pattern' in schema and not re.search(schema['pattern'], value):
    found.append(f'{path} does not match {schema["pattern"]}')
  if isinstance(value, int) and not schema.get('minimum', value) <= value <= schema.get('maximum', value):
    found.append(f'{path} is out of range: {value}')
  if isinstance(value, (str, list)):
    least, most = ('minLength', 'maxLength') if isinstance(value, str) else ('minItems', 'maxItems')
    if not schema.get(least, 0) <= len(value) <= schema.get(most, len(value)):
      found.append(f'{path} has a wrong length: {len(value)}')
  if isinstance(value, list):
    for index, item in enumerate(value):
      found += schema_errors(item, schema.get('items', {}), f'{path}[{index}]')
  if isinstance(value, dict):
    found += [f'{path}.{name} is missing' for name in schema.get('required', ()) if name not in value]
    known, others = schema.get('properties', {}), schema.get('additionalProperties')
    is_open = not known and others is None or schema.get('x-kubernetes-preserve-unknown-fields')
    for name, item in value.items():
      if name in known or isinstance(others, dict):
        found += schema_errors(item, known.get(name, others), f'{path}.{name}')
      elif not is_open:
        found.append(f'{path}.{name} is unknown')
  return found


def schema_of(kind: str) -> dict:
  """Returns the published schema of a kind, or skips the test."""
  path = SCHEMAS / FILES[kind]
  if not path.is_file():
    pytest.skip(f'the schema {path.name} is not in ../shared/schemas')
  return json.loads(path.read_text())


def documents(capsys, argv):
  """Returns the manifests that a launcher prints."""
  v2a_argv = (
    [] if argv[0] == 'queues' else ['--', 'train', '--config', 'flow_synthetic', '--workdir', '/runs/a']
  )
  assert command_line.main([argv[0], '--dry-run', *argv[1:], *v2a_argv]) == 0
  return list(yaml.safe_load_all(capsys.readouterr().out))


@pytest.mark.parametrize('name', MANIFESTS)
def test_manifests_match_the_schemas(name, capsys):
  found = documents(capsys, MANIFESTS[name])
  assert sorted(one['kind'] for one in found) == (
    ['ClusterQueue', 'LocalQueue', 'ResourceFlavor'] if 'queues' in name else ['JobSet']
  )
  for one in found:
    assert schema_errors(one, schema_of(one['kind'])) == []


@pytest.mark.parametrize(
  ('path', 'value', 'message'),
  [
    (('failurePolicy', 'maxRestart'), 3, '.maxRestart is unknown'),
    (('failurePolicy', 'maxRestarts'), 'many', '.maxRestarts must be of type integer'),
    (('failurePolicy', 'rules', 0, 'action'), 'Fail', '.rules[0].action must be one of'),
    (('failurePolicy', 'rules', 0, 'name'), None, '.rules[0].name must be of type string'),
    (('replicatedJobs', 0), {'name': 'slice'}, '.replicatedJobs[0].template is missing'),
  ],
)
def test_schema_violations_are_found(path, value, message, capsys):
  (one,) = documents(capsys, MANIFESTS['tpu'])
  schema, target = schema_of('JobSet'), one['spec']
  for key in path[:-1]:
    target = target[key]
  target[path[-1]] = value
  found = schema_errors(one, schema)
  assert len(found) == 1 and message in found[0]
