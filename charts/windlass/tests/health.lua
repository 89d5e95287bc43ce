-- Holds argocd/edgenode-health.lua against hand-made statuses, with nothing but the libraries that
-- Argo CD loads. Usage: lua tests/health.lua CHART

local path = arg[1] .. "/argocd/edgenode-health.lua"
local passed, failed = 0, 0

local function health(obj)
  local env = {obj = obj, ipairs = ipairs, pairs = pairs, tostring = tostring, type = type, table = table}
  local chunk
  if setfenv then
    chunk = setfenv(assert(loadfile(path)), env)
  else
    chunk = assert(loadfile(path, "t", env))
  end
  return chunk()
end

local function node(status, over)
  local obj = {metadata = {name = "press-07", generation = 2}, spec = {}, status = status}
  for k, v in pairs(over or {}) do
    for kk, vv in pairs(v) do obj[k][kk] = vv end
  end
  return obj
end

local function status(conditions, more)
  local list = {}
  for kind, c in pairs(conditions) do
    table.insert(list, {type = kind, status = c[1], reason = c[2], message = c[3]})
  end
  local s = {observedGeneration = 2, conditions = list}
  for k, v in pairs(more or {}) do s[k] = v end
  return s
end

local function expect(what, obj, name, message)
  local ok, hs = pcall(health, obj)
  if ok and hs.status == name and type(hs.message) == "string" and (message == nil or hs.message == message) then
    passed = passed + 1
  else
    failed = failed + 1
    print("FAIL " .. what .. ": got " .. (ok and tostring(hs.status) .. " / " .. tostring(hs.message) or hs))
  end
end

local ready = {Ready = {"True", "Ready", "all is well"}, ConfigApplied = {"True", "Applied", ""}}
local failure = {{resource = "file C:/a", reason = "IsDirectory", message = "a directory is in its place"}}

expect("no status", node(nil), "Progressing")
expect("an empty status", node({}), "Progressing")
expect("no conditions", node({observedGeneration = 2}), "Progressing")
expect("an older generation", node(status(ready, {observedGeneration = 1})), "Progressing")
expect("ready", node(status(ready)), "Healthy", "all is well")
expect("deleted while ready", node(status(ready), {metadata = {deletionTimestamp = "2026-01-01T00:00:00Z"}}), "Progressing")
expect("stalled", node(status({Stalled = {"True", "InvalidSpec", "spec.files[0]: bad"}, Ready = {"False", "InvalidSpec", "x"}})),
  "Degraded", "InvalidSpec: spec.files[0]: bad")
expect("stalled and suspended", node(status({Stalled = {"True", "InvalidSpec", "m"}}), {spec = {suspended = true}}), "Degraded")
expect("stalled and offline", node(status({Stalled = {"True", "InvalidSpec", "m"}, Ready = {"Unknown", "NodeOffline", "o"}})), "Degraded")
expect("suspended", node(status({Ready = {"False", "Suspended", "m"}}), {spec = {suspended = true}}), "Suspended")
expect("suspended while ready", node(status(ready), {spec = {suspended = true}}), "Suspended")
expect("not suspended", node(status(ready), {spec = {suspended = false}}), "Healthy")
expect("offline as it should be", node(status({Ready = {"Unknown", "NodeOffline", "since 03:00"}, ConfigApplied = {"True", "Applied", ""}})),
  "Suspended", "NodeOffline: since 03:00")
expect("offline with a change coming", node(status({Ready = {"Unknown", "NodeOffline", "m"}, ConfigApplied = {"False", "Pending", ""}})), "Progressing")
expect("offline, unknown what is applied", node(status({Ready = {"Unknown", "NodeOffline", ""}, ConfigApplied = {"Unknown", "x", ""}})), "Progressing")
expect("offline with an old failure", node(status({Ready = {"Unknown", "NodeOffline", "m"}, ConfigApplied = {"False", "x", ""}}, {failures = failure})), "Progressing")
expect("a failure", node(status({Ready = {"False", "x", "m"}, ConfigApplied = {"False", "ResourceFailed", ""}, Reconciling = {"True", "Retrying", ""}}, {failures = failure})),
  "Degraded", "file C:/a: IsDirectory: a directory is in its place")
expect("two failures", node(status({ConfigApplied = {"False", "x", ""}}, {failures = {failure[1], failure[1]}})),
  "Degraded", "file C:/a: IsDirectory: a directory is in its place (and 1 more)")
expect("being applied", node(status({Ready = {"False", "Applying", "m"}, ConfigApplied = {"False", "Applying", ""}, Reconciling = {"True", "Applying", "3 of 7"}})),
  "Progressing", "Applying: 3 of 7")
expect("not healthy", node(status({Ready = {"False", "ServiceNotReady", "press: probe"}, ConfigApplied = {"True", "Applied", ""}, Healthy = {"False", "x", ""}})),
  "Degraded", "ServiceNotReady: press: probe")
local function serving(state)
  local conditions = {Ready = {"False", "NotHealthy", "m"}, ConfigApplied = {"True", "Applied", ""}, Reconciling = {"True", "x", "m"}, Healthy = {"False", "x", ""}}
  return node(status(conditions, {services = {{name = "press", state = state, ready = false, restarts = 3}, {name = "db", state = "Running", ready = true, restarts = 0}}}))
end
for _, state in ipairs({"BackingOff", "Failed", "Running"}) do
  expect("a service is not ready and " .. state, serving(state), "Degraded", "service press is not ready: " .. state .. ", 3 restarts")
end
for _, state in ipairs({"Waiting", "Starting", "Stopping", "Stopped"}) do
  expect("a service is not ready and " .. state, serving(state), "Progressing")
end
expect("a new revision for a service that falls over", node(status(
  {Ready = {"False", "x", "m"}, ConfigApplied = {"False", "Applying", ""}, Reconciling = {"True", "Applying", "m"}},
  {services = {{name = "press", state = "BackingOff", ready = false, restarts = 3}}})), "Progressing")
expect("never enrolled", node(status({Ready = {"False", "NotEnrolled", "m"}, Enrolled = {"False", "NotEnrolled", "m"}})), "Progressing", "NotEnrolled: m")

print(passed .. " statuses as expected, " .. failed .. " not (" .. _VERSION .. ")")
os.exit(failed == 0 and 0 or 1)
