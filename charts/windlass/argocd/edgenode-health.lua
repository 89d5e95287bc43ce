-- Argo CD health of edge.windlass.dev/EdgeNode. See README.md beside this file.
-- In: the global obj. Out: {status, message}. Lua 5.1 without the string library.

local status = obj.status or {}
local metadata = obj.metadata or {}

local function condition(kind)
  for _, c in ipairs(status.conditions or {}) do
    if c.type == kind then return c end
  end
  return {}
end

local function health(name, message)
  return {status = name, message = message or ""}
end

local function told(c, fallback)
  local message = c.message
  if message == nil or message == "" then message = fallback end
  if c.reason ~= nil and c.reason ~= "" then message = c.reason .. ": " .. message end
  return message
end

if metadata.deletionTimestamp ~= nil then
  return health("Progressing", "being deleted")
end

local observed = status.observedGeneration
if observed == nil or (metadata.generation ~= nil and observed < metadata.generation) then
  return health("Progressing", "waiting for the operator to see this generation")
end

local stalled = condition("Stalled")
if stalled.status == "True" then
  return health("Degraded", told(stalled, "cannot go on without a person"))
end

if obj.spec ~= nil and obj.spec.suspended == true then
  return health("Suspended", "spec.suspended: reports go on, nothing is changed on the machine")
end

local ready = condition("Ready")
if ready.status == "True" then
  return health("Healthy", ready.message)
end

local applied = condition("ConfigApplied")

-- Offline is not failed. A machine that went off as it should be waits for nobody; one that has
-- something coming is on its way, however long that takes.
if ready.reason == "NodeOffline" then
  if applied.status == "True" then
    return health("Suspended", told(ready, "offline, with the desired revision applied"))
  end
  return health("Progressing", told(ready, "offline, will be given the desired revision when it returns"))
end

local enrolled = condition("Enrolled")
if enrolled.status == "False" or enrolled.status == "Unknown" then
  return health("Progressing", told(enrolled, "waiting for the machine to enroll"))
end

-- The agent goes on trying, but as with a pod that cannot pull its image, somebody should know.
local failures = status.failures or {}
local first = failures[1]
if applied.status ~= "True" and first ~= nil then
  local message = tostring(first.resource) .. ": " .. tostring(first.reason) .. ": " .. tostring(first.message)
  if #failures > 1 then message = message .. " (and " .. tostring(#failures - 1) .. " more)" end
  return health("Degraded", message)
end

-- Started and fallen over is not on the way, even if another try is due.
if applied.status == "True" then
  for _, service in ipairs(status.services or {}) do
    local state = service.state
    if service.ready == false and (state == "BackingOff" or state == "Failed" or state == "Running") then
      return health("Degraded", "service " .. tostring(service.name) .. " is not ready: " .. state
        .. ", " .. tostring(service.restarts) .. " restarts")
    end
  end
end

if condition("Reconciling").status == "True" then
  return health("Progressing", told(condition("Reconciling"), "on the way to the desired state"))
end

if ready.status == "False" then
  return health("Degraded", told(ready, "not ready"))
end
return health("Progressing", told(ready, "readiness is not known yet"))
