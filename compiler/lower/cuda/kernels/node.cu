// Node: y = S::apply of images, some of which are normalised first, or dropped: a node of a derived network (group
// elementwise; see Elementwise). Image k has width(k) channels, of which those from start[k] on are read. A thread keeps to a pack of
// channels and takes rows near each other, so that what depends on the channel is computed once, and what depends on the image
// seldom.
// S: T, wholes, ones, norms, drops (how many there are), width(k), eps(k), affine(k) (how many of scale and shift norm k has),
// pixels (of an image), rows, channels, V, lanes, blocks, apply.
template <class S> struct Node {
  static constexpr int V = S::V, Norms = S::wholes + S::ones, Drops = Norms + 3 * S::norms;
  In<typename S::Image> x[larger(1, S::wholes)];
  In<float> one[larger(1, S::ones)], statistics[larger(1, S::norms)][4], p[larger(1, S::drops)];
  In<i64> seed[larger(1, S::drops)], step[larger(1, S::drops)];
  Out<typename S::Image> y;
  int start[S::wholes], stream[larger(1, S::drops)];

  __device__ void run(int block) const {
    constexpr int Packs = S::channels / V, Tiles = ceiling(Packs, S::lanes), RowLanes = Threads / S::lanes, Length = ceiling(S::rows, S::blocks / Tiles);
    int pack = block % Tiles * S::lanes + thread() % S::lanes, row_lane = thread() / S::lanes, channel = pack * V;
    if (row_lane >= RowLanes || pack >= Packs) return;
    float a[V][Drops + S::drops];
    constants(a, channel);
    int from = block / Tiles * Length, to = smaller(S::rows, from + Length), image = -1;
    for (int row = from + row_lane; row < to; row += RowLanes) {
      if (S::drops > 0 && row / S::pixels != image) {
        image = row / S::pixels;
        drop(a, image);
      }
#pragma unroll
      for (int k = 0; k < S::wholes; k++) {
        Pack<V> q = load<V>(x[k], row * S::width(k) + start[k] + channel);
        for (int v = 0; v < V; v++) a[v][k] = q.v[v];
      }
      Pack<V> out;
      for (int v = 0; v < V; v++) out.v[v] = S::apply(a[v]);
      store<V>(y, row * S::channels + channel, out);
    }
  }

  // constants sets the numbers of one element, and of each norm what is subtracted, multiplied by and added.
  __device__ inline void constants(float (&a)[V][Drops + S::drops], int channel) const {
    for (int v = 0; v < V; v++) {
#pragma unroll
      for (int k = 0; k < S::ones; k++) a[v][S::wholes + k] = one[k][0];
#pragma unroll
      for (int k = 0; k < S::norms; k++) {
        float factor = (float)inverse_root(statistics[k][1][channel + v] + S::eps(k));
        a[v][Norms + 3 * k] = statistics[k][0][channel + v];
        a[v][Norms + 3 * k + 1] = S::affine(k) ? factor * statistics[k][2][channel + v] : factor;
        a[v][Norms + 3 * k + 2] = S::affine(k) ? statistics[k][3][channel + v] : 0.0f;
      }
    }
  }

  // drop sets what an image is multiplied by, 0 where a path drops it.
  __device__ inline void drop(float (&a)[V][Drops + S::drops], int image) const {
#pragma unroll
    for (int k = 0; k < S::drops; k++) {
      float keep = 1 - p[k][0], factor = Philox(seed[k][0], step[k][0], stream[k]).uniform((u64)image) < keep ? 1 / keep : 0.0f;
      for (int v = 0; v < V; v++) a[v][Drops + k] = factor;
    }
  }
};
