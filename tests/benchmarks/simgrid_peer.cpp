// SimGrid (3.32 or 4.x) as pure max-min sharing of the workloads W1, W2 and W3: cross traffic, TCP and its factors off.
//   simgrid_peer w1 GPUS | simgrid_peer w2 GPUS | simgrid_peer w3 NODES FILE.csv
// Prints one JSON line; cpu_s covers the run, not the building of machine and message list.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <functional>
#include <map>
#include <simgrid/s4u.hpp>
#include <simgrid/version.h>
#include <string>
#include <vector>

using namespace simgrid::s4u;
constexpr double gpu_bandwidth = 450e9, nic_bandwidth = 50e9, spine_bandwidth = 100e9, latency = 500e-9;
constexpr int per_node = 8, per_leaf = 32, spines = 16;

#if SIMGRID_VERSION >= 40000
NetZone* new_zone(Engine& engine, bool star)
{
  auto* root = engine.get_netzone_root();
  return star ? root->add_netzone_star("net") : root->add_netzone_full("net");
}
Host* new_host(NetZone* zone, const std::string& name) { return zone->add_host(name, 1e9); }
Link* new_link(NetZone* zone, const std::string& name, double rate, double delay)
{
  return zone->add_link(name, rate)->set_latency(delay);
}
void new_route(NetZone* zone, Host* from, Host* to, const std::vector<LinkInRoute>& path)
{
  zone->add_route(from, to, path, false);
}
const std::vector<const char*> versioned = {"network/model:raw", "network/TCP-gamma:0", "precision/timing:1e-15"};
#else
NetZone* new_zone(Engine&, bool star) { return star ? create_star_zone("net") : create_full_zone("net"); }
Host* new_host(NetZone* zone, const std::string& name) { return zone->create_host(name, 1e9); }
Link* new_link(NetZone* zone, const std::string& name, double rate, double delay)
{
  return zone->create_link(name, rate)->set_latency(delay);
}
void new_route(NetZone* zone, Host* from, Host* to, const std::vector<LinkInRoute>& path)
{
  auto point = [](Host* host) { return host ? host->get_netpoint() : nullptr; };
  zone->add_route(point(from), point(to), nullptr, nullptr, path, false);
}
const std::vector<const char*> versioned = {"network/model:CM02", "network/TCP-gamma:1e30", "surf/precision:1e-15"};
#endif

double cpu() { return double(std::clock()) / CLOCKS_PER_SEC; }

void report(double seconds, double makespan, double mean)
{
  std::printf("{\"version\": \"%d.%d\", \"cpu_s\": %.6f, \"makespan_s\": %.15g, \"mean_completion_s\": %.15g}\n",
              SIMGRID_VERSION_MAJOR, SIMGRID_VERSION_MINOR, seconds, makespan, mean);
  std::fflush(stdout);
}

// Start every message at its instant (ascending), run, and report; a completion counts from `issued`.
struct Message {
  double issued, start;
  Host *src, *dst;
  uint64_t size;
};
void replay(Engine& engine, const std::vector<Message>& messages)
{
  std::vector<CommPtr> comms;
  comms.reserve(messages.size());
  Actor::create("replay", messages.front().src, [&] {
    for (auto const& each : messages) {
      if (each.start > Engine::get_clock())
        this_actor::sleep_until(each.start);
      comms.push_back(Comm::sendto_async(each.src, each.dst, each.size));
    }
  });
  double begin = cpu();
  engine.run();
  double seconds = cpu() - begin, makespan = 0, sum = 0;
  for (size_t k = 0; k < comms.size(); k++) {
    makespan = std::max(makespan, comms[k]->get_finish_time());
    sum += comms[k]->get_finish_time() - messages[k].issued;
  }
  report(seconds, makespan, sum / comms.size());
}

std::vector<Host*> star(Engine& engine, int gpus)
{
  auto* zone = new_zone(engine, true);
  std::vector<Host*> hosts;
  for (int g = 0; g < gpus; g++) {
    auto name = std::to_string(g);
    hosts.push_back(new_host(zone, "gpu" + name));
    new_route(zone, hosts[g], nullptr, {LinkInRoute(new_link(zone, "up" + name, gpu_bandwidth, latency))});
    new_route(zone, nullptr, hosts[g], {LinkInRoute(new_link(zone, "down" + name, gpu_bandwidth, latency))});
  }
  zone->seal();
  return hosts;
}

void all_to_all(Engine& engine, int gpus)
{
  auto hosts = star(engine, gpus);
  std::vector<Message> messages;
  for (int k = 1; k < gpus; k++)
    for (int g = 0; g < gpus; g++)
      messages.push_back({0, 0, hosts[g], hosts[(g + k) % gpus], 1 << 20});
  replay(engine, messages);
}

void ring_all_reduce(Engine& engine, int gpus)
{
  auto hosts = star(engine, gpus);
  const uint64_t chunk = (uint64_t(1) << 26) / gpus;
  static int token;
  for (int g = 0; g < gpus; g++)
    Actor::create("rank", hosts[g], [=] {
      auto *own = Mailbox::by_name(std::to_string(g)), *next = Mailbox::by_name(std::to_string((g + 1) % gpus));
      for (int step = 0; step < 2 * (gpus - 1); step++) {
        auto sent = next->put_async(&token, chunk);
        own->get<int>();
        sent->wait();
      }
    });
  double begin = cpu();
  engine.run();
  report(cpu() - begin, Engine::get_clock(), 0);
}

// A message first waits the latency of its whole path, then shares links that have none.
void leaf_spine(Engine& engine, int nodes, const char* file)
{
  auto* zone = new_zone(engine, false);
  const int gpus = per_node * nodes, leaves = (gpus + per_leaf - 1) / per_leaf;
  std::vector<Host*> hosts;
  std::map<std::string, std::vector<Link*>> links;
  auto add = [&](const char* kind, int count, double rate) {
    for (int k = 0; k < count; k++)
      links[kind].push_back(new_link(zone, kind + std::to_string(k), rate, 0));
  };
  for (int g = 0; g < gpus; g++)
    hosts.push_back(new_host(zone, "gpu" + std::to_string(g)));
  for (const char* kind : {"gpu_up", "gpu_down"})
    add(kind, gpus, gpu_bandwidth);
  for (const char* kind : {"nic_up", "nic_down"})
    add(kind, gpus, nic_bandwidth);
  for (const char* kind : {"leaf_up", "leaf_down"})
    add(kind, leaves * spines, spine_bandwidth);

  std::vector<Message> messages;
  std::map<std::pair<int, int>, int> routed;
  auto* list = std::fopen(file, "r");
  long id, ns, size;
  int src, dst, spine;
  std::fscanf(list, "%*[^\n]");
  while (std::fscanf(list, "%ld,%ld,%d,%d,%ld,%d,%*s", &id, &ns, &src, &dst, &size, &spine) == 6) {
    std::vector<LinkInRoute> path;
    if (src / per_node == dst / per_node)
      path = {LinkInRoute(links["gpu_up"][src]), LinkInRoute(links["gpu_down"][dst])};
    else if (spine < 0)
      path = {LinkInRoute(links["nic_up"][src]), LinkInRoute(links["nic_down"][dst])};
    else
      path = {LinkInRoute(links["nic_up"][src]), LinkInRoute(links["leaf_up"][src / per_leaf * spines + spine]),
              LinkInRoute(links["leaf_down"][dst / per_leaf * spines + spine]), LinkInRoute(links["nic_down"][dst])};
    if (!routed[{src, dst}]++)
      new_route(zone, hosts[src], hosts[dst], path);
    messages.push_back({ns * 1e-9, ns * 1e-9 + path.size() * latency, hosts[src], hosts[dst], uint64_t(size)});
  }
  std::fclose(list);
  zone->seal();
  std::stable_sort(messages.begin(), messages.end(), [](auto const& a, auto const& b) { return a.start < b.start; });
  replay(engine, messages);
}

int main(int argc, char** argv)
{
  std::vector<const char*> settings = {"network/crosstraffic:no", "network/weight-S:0", "network/latency-factor:1",
                                       "network/bandwidth-factor:1"};
  settings.insert(settings.end(), versioned.begin(), versioned.end());
  Engine engine(&argc, argv);
  for (const char* each : settings)
    Engine::set_config(each);
  const std::string workload = argv[1];
  const int size = std::stoi(argv[2]);
  if (workload == "w1")
    all_to_all(engine, size);
  else if (workload == "w2")
    ring_all_reduce(engine, size);
  else
    leaf_spine(engine, size, argv[3]);
  std::_Exit(0); // taking down millions of objects says nothing
}
