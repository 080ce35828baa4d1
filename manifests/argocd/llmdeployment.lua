-- Health of an LLMDeployment: Healthy exactly when its newest generation serves.
local health = {status = "Progressing", message = "the operator has not seen this generation yet"}
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
  return health
end
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  return health
end
local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local stalled, ready = found.Stalled, found.Ready
if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.reason .. ": " .. stalled.message
elseif ready ~= nil then
  -- An SLO that a plan of BestEffort misses is told, and no reason to hold up a release.
  if ready.status == "True" then
    health.status = "Healthy"
  elseif ready.reason == "Paused" then
    health.status = "Suspended"
  end
  health.message = ready.reason .. ": " .. ready.message
end
return health
